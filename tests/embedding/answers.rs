//! System calls that are refused, or answered wrongly, for what they ask: by their arguments, not
//! by their number alone.

use super::refusals::{filter, install};

/// What must hold of an argument of a system call, by the lower half of its bits.
#[derive(Clone, Copy)]
pub struct Condition {
    argument: u32,
    how: u32,
    number: i32,
}

impl Condition {
    /// All of these bits are in it.
    pub const fn has(argument: u32, number: i32) -> Self {
        Self {
            argument,
            how: libc::BPF_JSET,
            number,
        }
    }

    pub const fn is(argument: u32, number: i32) -> Self {
        Self {
            argument,
            how: libc::BPF_JEQ,
            number,
        }
    }
}

/// Makes this system call fail with `errno`, or do nothing and return 0 if that is 0, where all
/// of the conditions hold.
pub fn answer_if(call: libc::c_long, conditions: &[Condition], errno: i32) {
    /// Where `struct seccomp_data` has the arguments, 8 bytes each.
    const ARGUMENTS: u32 = 16;
    let low_half = if cfg!(target_endian = "big") { 4 } else { 0 };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump = |how: u32, k: u32, left: usize| {
        let to_end = u8::try_from(left).expect("a short program");
        filter(libc::BPF_JMP | how | libc::BPF_K, 0, to_end, k)
    };
    // Behind each jump: two statements a condition, and the answer.
    let mut left = 2 * conditions.len() + 1;
    let number = u32::try_from(call).expect("a system call");
    let mut program = vec![filter(load, 0, 0, 0), jump(libc::BPF_JEQ, number, left)];
    for condition in conditions {
        left -= 2;
        let place = ARGUMENTS + 8 * condition.argument + low_half;
        program.push(filter(load, 0, 0, place));
        let number = u32::from_ne_bytes(condition.number.to_ne_bytes());
        program.push(jump(condition.how, number, left));
    }
    let errno = u32::try_from(errno).expect("an error");
    program.push(filter(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ERRNO | errno));
    install(program);
}
