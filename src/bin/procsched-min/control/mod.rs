//! The control socket: through it an operator sees and changes what a running supervisor does.

pub mod path;
