//! From the script's text to steps, and from a step to the function that does it.

use crate::{Probe, dump, exit, hostile, notify, output, process, signals, waits};

/// One step: its words, and the block that follows them.
#[derive(Debug)]
pub struct Step {
    words: Vec<String>,
    block: Vec<Step>,
}

/// Reads a whole script.
pub fn parse(text: &str) -> Result<Vec<Step>, String> {
    let spaced = text
        .replace(';', " ; ")
        .replace('{', " { ")
        .replace('}', " } ");
    let mut tokens = spaced.split_whitespace();
    let steps = parse_block(&mut tokens, false)?;
    Ok(steps)
}

fn parse_block<'a>(
    tokens: &mut impl Iterator<Item = &'a str>,
    nested: bool,
) -> Result<Vec<Step>, String> {
    let mut steps = Vec::new();
    let mut words: Vec<String> = Vec::new();
    let mut block = Vec::new();
    loop {
        let token = tokens.next();
        match token {
            Some("{") => block = parse_block(tokens, true)?,
            Some(";" | "}") | None => {
                if !words.is_empty() {
                    let words = std::mem::take(&mut words);
                    steps.push(Step {
                        words,
                        block: std::mem::take(&mut block),
                    });
                }
                match (token, nested) {
                    (Some("}"), true) | (None, false) => return Ok(steps),
                    (Some(";"), _) => {}
                    _ => return Err("unbalanced braces in the script".to_owned()),
                }
            }
            Some(word) => words.push(word.to_owned()),
        }
    }
}

impl Probe {
    /// Does these steps one after the other.
    pub fn run(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    fn step(&mut self, step: &Step) {
        let words: Vec<&str> = step.words.iter().map(String::as_str).collect();
        match *words {
            ["exit", code] => exit(number(code)),
            ["sig", signal] => signals::end_by(signals::parse(signal)),
            ["abort"] => signals::end_by(libc::SIGABRT),
            ["stop-self"] => signals::raise(libc::SIGSTOP),
            ["dead-leader", delay, code] => process::dead_leader(number(delay), number(code)),
            ["say", text] => output::write_all(2, &self.expand(text)),
            ["say", text, fd] => output::write_all(number(fd), &self.expand(text)),
            ["spew", bytes, pattern] => output::spew(2, number(bytes), pattern),
            ["spew", bytes, pattern, fd] => output::spew(number(fd), number(bytes), pattern),
            ["numbers", lines, per_second, fd] => {
                output::numbers(number(fd), number(lines), number(per_second));
            }
            ["endless", pattern] => output::spew(2, u64::MAX, pattern),
            ["urandom", bytes, file] => output::urandom(number(bytes), file),
            ["touch", file] => output::append(file, b""),
            ["append", file, text] => output::append(file, &self.expand(text)),
            ["stamp", file] => output::append(file, format!("{}\n", waits::monotonic()).as_bytes()),
            ["pid", file] => output::replace(file, format!("{}\n", process::pid()).as_bytes()),
            ["count", file] => self.counted = output::count(file),
            ["slurp", file] => output::slurp(file),
            ["dump", file] => dump::dump(file, &self.arguments),
            _ => self.more(&words, &step.block),
        }
    }

    /// Blocks, waits, signals, and what else a process does.
    fn more(&mut self, words: &[&str], block: &[Step]) {
        match *words {
            ["once", file] => {
                if output::create_new(file) {
                    self.run(block);
                }
            }
            ["unless", file] => {
                if !std::path::Path::new(file).exists() {
                    self.run(block);
                }
            }
            ["every", times, file] => {
                if output::count(file).is_multiple_of(number(times)) {
                    self.run(block);
                }
            }
            ["forever"] => loop {
                self.run(block);
            },
            ["repeat", times] => (0..number::<u64>(times)).for_each(|_| self.run(block)),
            ["sleep", delay] => waits::sleep(number(delay)),
            ["hold"] => waits::hold(),
            ["gate", fifo] => waits::gate(fifo),
            ["wait-file", file] => waits::wait_file(file),
            ["ignore", signal] => signals::ignore(signals::parse(signal)),
            ["trap", signal] => signals::trap(&[signals::parse(signal)]),
            ["await", signal] => _ = signals::wait(&[signals::parse(signal)]),
            ["record", file, ref names @ ..] => signals::record(file, names),
            ["fork"] => {
                if process::fork_child() {
                    self.run(block);
                    exit(0);
                }
            }
            ["escape"] => {
                if process::fork_escaped() {
                    self.run(block);
                    exit(0);
                }
            }
            ["join", file] => process::join_group(file),
            ["storm"] => process::storm(),
            ["pipes", count] => process::open_pipes(number(count)),
            ["unread-pipe"] => process::unread_pipe(),
            ["setpgid"] => process::setpgid(),
            ["setsid"] => process::setsid(),
            ["anonymous"] => process::anonymous(),
            ["claim", name] => process::claim(name),
            ["close", fd] => process::close(number(fd)),
            ["become", user] => process::become_user(number(user)),
            ["chdir", directory] => process::chdir(directory),
            ["core", wanted] => process::core_dumps(wanted == "on"),
            ["serve", file] => process::serve(file),
            ["seize", pid] => process::seize(number(pid), libc::PTRACE_O_TRACEEXIT),
            ["trace", pid] => process::seize(number(pid), 0),
            ["pin-pid"] => process::pin_pid(),
            _ => self.say_how_it_is(words),
        }
    }

    /// Messages to the supervisor.
    fn say_how_it_is(&mut self, words: &[&str]) {
        match *words {
            ["notify", text] => notify::send(&self.expand(text)),
            ["notify-long", bytes, text] => notify::send_long(number(bytes), &self.expand(text)),
            ["notify-flood", count, text] => notify::flood(number(count), &self.expand(text)),
            ["notify-fds", text] => notify::send_with_descriptors(&self.expand(text)),
            ["notify-address", file] => notify::keep_address(file),
            ["notify-at", file, into, text] => notify::send_to(file, into, &self.expand(text)),
            _ => self.evil(words),
        }
    }

    /// What no program should do.
    fn evil(&mut self, words: &[&str]) {
        match *words {
            ["steal", bytes] => hostile::steal(number(bytes)),
            ["attack-parent", file] => hostile::attack_parent(file),
            ["attack", pid, file] => hostile::attack_other(pid, file),
            ["bomb", how] => hostile::bomb(how == "leaving"),
            ["kill-user"] => hostile::kill_user(),
            ["chaos"] => hostile::chaos(),
            ["lock", file, into] => hostile::lock(file, into),
            _ => crate::broken(&format!("no such step: {words:?}")),
        }
    }

    /// The bytes of a text with its escapes.
    fn expand(&self, text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut rest = text.chars();
        while let Some(char) = rest.next() {
            let (escape, next) = match char {
                '\\' | '%' => (char, rest.next()),
                plain => {
                    bytes.extend(plain.to_string().as_bytes());
                    continue;
                }
            };
            match (escape, next) {
                ('\\', Some('n')) => bytes.push(b'\n'),
                ('\\', Some('0')) => bytes.push(0),
                ('\\', Some('s')) => bytes.push(b' '),
                ('\\', Some('x')) => {
                    let digits: String = rest.by_ref().take(2).collect();
                    let byte = u8::from_str_radix(&digits, 16);
                    bytes.push(byte.unwrap_or_else(|_| crate::broken(text)));
                }
                ('%', Some('p')) => bytes.extend(process::pid().to_string().as_bytes()),
                ('%', Some('n')) => bytes.extend(self.counted.to_string().as_bytes()),
                _ => crate::broken(&format!("no such escape in {text:?}")),
            }
        }
        bytes
    }
}

/// A number of the script.
fn number<T: std::str::FromStr>(word: &str) -> T {
    word.parse()
        .unwrap_or_else(|_| crate::broken(&format!("not a number: {word:?}")))
}
