//! Requests of every command, valid or not, and what their answers may be.

use serde_json::{Value, json};

use super::rng::Rng;
use crate::control::protocol::REQUEST_BYTES_MAX;

/// What an order is, with what tells it from all others.
#[derive(Debug, Clone)]
pub struct Order {
    pub verb: &'static str,
    /// A word that occurs in its list of programs. Without one, it names one program exactly.
    pub tag: Option<String>,
    /// The programs that it names.
    pub programs: Vec<usize>,
    /// Of a signal: true if it ends a program.
    pub is_deadly: bool,
    /// True if the programs after the first may be ordered later than the first.
    pub is_split: bool,
    pub waits: bool,
}

/// What a request asks for.
#[derive(Debug, Clone)]
pub enum Kind {
    /// Nothing happens to a program.
    Other,
    /// There is no last line while all is well.
    Follow,
    Order(Order),
    /// The connection is closed after the answer.
    TooLong,
}

/// A request, and what its answer may be.
#[derive(Debug, Clone)]
pub struct Ask {
    /// With its line feed.
    pub line: Vec<u8>,
    pub kind: Kind,
    pub may_succeed: bool,
    /// The codes with which it may fail.
    pub codes: &'static [&'static str],
    /// The number of data lines if it succeeds.
    pub lines: Option<usize>,
}

const WAITING: &[&str] = &[
    "busy",
    "superseded",
    "timeout",
    "failed",
    "abandoned",
    "unknown-program",
];

/// A pattern for all programs but the guests.
const ALL: &str = "[a-f]*";

/// Requests that are refused, and how.
const INVALID: [(&str, &[&str]); 16] = [
    ("", &["usage"]),
    ("{}", &["usage"]),
    ("[1]", &["usage"]),
    ("null", &["usage"]),
    ("stop alpha", &["usage"]),
    (r#"{"v":1}"#, &["usage"]),
    (r#"{"v":2,"command":"stop","programs":["*"]}"#, &["version"]),
    (
        r#"{"v":"1","command":"stop","programs":["*"]}"#,
        &["version"],
    ),
    (r#"{"command":"stop","programs":["*"]}"#, &["usage"]),
    (r#"{"v":1,"command":"stop"}"#, &["usage"]),
    (r#"{"v":1,"command":"stop","programs":[]}"#, &["usage"]),
    (r#"{"v":1,"command":"stop","programs":"*"}"#, &["usage"]),
    (
        r#"{"v":1,"command":"stop","programs":["*"],"force":true}"#,
        &["usage"],
    ),
    (
        r#"{"v":1,"command":"stop","programs":["*"]} {}"#,
        &["usage"],
    ),
    (
        r#"{"v":1,"command":"signal","programs":["*"],"signal":0}"#,
        &["usage"],
    ),
    (
        r#"{"v":1,"command":"restart","programs":["[a"]}"#,
        &["usage"],
    ),
];

/// Makes requests for these programs.
pub struct Asker<'a> {
    pub chance: &'a mut Rng,
    pub names: &'a [&'static str],
    /// The number of orders so far.
    pub orders: &'a mut usize,
}

fn ask(value: &Value, kind: Kind, may_succeed: bool, codes: &'static [&'static str]) -> Ask {
    Ask {
        line: format!("{value}\n").into_bytes(),
        kind,
        may_succeed,
        codes,
        lines: None,
    }
}

impl Asker<'_> {
    pub fn any(&mut self) -> Ask {
        match self.chance.index(20) {
            0..=7 => self.order(),
            8..=9 => self.signal(),
            10..=11 => self.status(),
            12 => self.wait(),
            13 => self.events(),
            14 => self.reload(),
            15 => ask(
                &json!({"v": 1, "command": "reopen"}),
                Kind::Other,
                true,
                &[],
            ),
            16..=17 => self.invalid(),
            18 => self.noise(),
            _ => self.padded(),
        }
    }

    fn invalid(&mut self) -> Ask {
        let (text, codes) = self.chance.pick(&INVALID);
        Ask {
            line: format!("{text}\n").into_bytes(),
            ..ask(&Value::Null, Kind::Other, false, codes)
        }
    }

    /// Returns bytes that are no request.
    fn noise(&mut self) -> Ask {
        let length = self.chance.index(300);
        let mut line: Vec<u8> = (0..length)
            .map(|_| u8::try_from(self.chance.index(256)).expect("a byte"))
            .filter(|byte| *byte != b'\n')
            .collect();
        line.extend(b"}\n");
        Ask {
            line,
            ..ask(&Value::Null, Kind::Other, false, &["usage"])
        }
    }

    /// Returns an order of the longest length, or of one byte more.
    fn padded(&mut self) -> Ask {
        let mut found = self.order();
        let is_too_long = self.chance.one_in(2);
        found.line.pop();
        found
            .line
            .resize(REQUEST_BYTES_MAX + usize::from(is_too_long), b' ');
        found.line.push(b'\n');
        match is_too_long {
            true => Ask {
                kind: Kind::TooLong,
                may_succeed: false,
                codes: &["too-long"],
                ..found
            },
            false => found,
        }
    }

    fn program(&mut self) -> usize {
        self.chance.index(self.names.len())
    }

    /// Returns a glob that matches this program alone, and no glob before.
    fn tagged(&mut self, program: usize) -> (String, String) {
        *self.orders += 1;
        let tag = format!("{:06}", self.orders);
        let (first, rest) = self.names[program].split_at(1);
        (format!("[{first}{tag}]{rest}"), tag)
    }

    /// Returns programs, the patterns for them, and the tag among these.
    fn targets(&mut self) -> (Vec<usize>, Vec<String>, String) {
        let first = self.program();
        let (glob, tag) = self.tagged(first);
        let (mut programs, mut patterns) = (vec![first], vec![glob]);
        match self.chance.index(6) {
            0 => {
                programs = (0..self.names.len()).collect();
                patterns.push(ALL.to_owned());
            }
            1..=2 => {
                let second = self.program();
                patterns.insert(0, self.names[second].to_owned());
                if second != first {
                    programs.push(second);
                }
            }
            _ => {}
        }
        (programs, patterns, tag)
    }

    pub fn order(&mut self) -> Ask {
        match self.chance.index(8) {
            0 => return self.split(),
            1..=2 => return self.plain(),
            _ => {}
        }
        let verb = self.verb();
        let (programs, patterns, tag) = self.targets();
        self.order_of(verb, Some(tag), programs, &patterns)
    }

    fn verb(&mut self) -> &'static str {
        self.chance.pick(&["start", "stop", "restart", "kill"])
    }

    /// Returns an order for one exact name.
    fn plain(&mut self) -> Ask {
        let (verb, program) = (self.verb(), self.program());
        let patterns = [self.names[program].to_owned()];
        self.order_of(verb, None, vec![program], &patterns)
    }

    /// Returns an order for two programs, between which are unknown ones.
    pub fn split(&mut self) -> Ask {
        let (verb, first, second) = (self.verb(), self.program(), self.program());
        *self.orders += 1;
        let tag = format!("{:06}", self.orders);
        let mut patterns = vec![self.names[first].to_owned(), tag.clone()];
        let unknown = self.chance.pick(&[1, 80, 400]);
        patterns.extend((0..unknown).map(|index| format!("zulu-{index}")));
        patterns.push(self.names[second].to_owned());
        let mut programs = vec![first, second];
        programs.dedup();
        let mut found = self.order_of(verb, Some(tag), programs, &patterns);
        if let Kind::Order(order) = &mut found.kind {
            order.is_split = true;
        }
        found.may_succeed = false;
        found.codes = &["unknown-program", "failed", "busy"];
        found
    }

    fn order_of(
        &mut self,
        verb: &'static str,
        tag: Option<String>,
        programs: Vec<usize>,
        patterns: &[String],
    ) -> Ask {
        let waits = self.chance.one_in(2);
        let command = if verb == "kill" { "stop" } else { verb };
        let mut value = json!({"v": 1, "command": command, "programs": patterns, "wait": waits});
        if verb == "kill" {
            value["kill"] = json!(true);
        }
        if waits && self.chance.one_in(3) {
            value["timeout"] = json!(self.chance.pick(&[0.0, 0.001, 0.02]));
        }
        let lines = Some(programs.len());
        let kind = Kind::Order(Order {
            verb,
            tag,
            programs,
            is_deadly: false,
            is_split: false,
            waits,
        });
        let codes = if waits { WAITING } else { &[] };
        Ask {
            lines,
            ..ask(&value, kind, true, codes)
        }
    }

    fn signal(&mut self) -> Ask {
        let (programs, patterns, tag) = self.targets();
        let (signal, is_deadly) = self.chance.pick(&[
            ("KILL", true),
            ("USR1", true),
            ("WINCH", false),
            ("URG", false),
        ]);
        let to = self.chance.pick(&["group", "main"]);
        let value = json!({
            "v": 1, "command": "signal", "programs": patterns, "signal": signal, "to": to,
        });
        let lines = Some(programs.len());
        let kind = Kind::Order(Order {
            verb: "signal",
            tag: Some(tag),
            programs,
            is_deadly,
            is_split: false,
            waits: false,
        });
        Ask {
            lines,
            ..ask(&value, kind, true, &["not-running"])
        }
    }

    fn status(&mut self) -> Ask {
        match self.chance.index(3) {
            0 => {
                let value = json!({"v": 1, "command": "status", "programs": ["yankee", "alpha"]});
                ask(&value, Kind::Other, false, &["unknown-program"])
            }
            1 => ask(
                &json!({"v": 1, "command": "status"}),
                Kind::Other,
                true,
                &[],
            ),
            _ => Ask {
                lines: Some(self.names.len()),
                ..ask(
                    &json!({"v": 1, "command": "status", "programs": [ALL]}),
                    Kind::Other,
                    true,
                    &[],
                )
            },
        }
    }

    fn wait(&mut self) -> Ask {
        let state = self
            .chance
            .pick(&["running", "down", "stopped", "backoff", "pending"]);
        let program = self.names[self.program()];
        let timeout = self.chance.pick(&[0.0, 0.01, 0.05]);
        let value = json!({
            "v": 1, "command": "wait", "programs": [program], "for": state, "timeout": timeout,
        });
        ask(&value, Kind::Other, true, &["busy", "timeout", "failed"])
    }

    /// Returns the order that ends everything.
    pub fn shutdown(&mut self) -> Ask {
        let value = json!({"v": 1, "command": "shutdown", "kill": self.chance.one_in(2)});
        ask(&value, Kind::Other, true, &[])
    }

    fn events(&mut self) -> Ask {
        let mut value = json!({"v": 1, "command": "events", "snapshot": self.chance.one_in(2)});
        if self.chance.one_in(3) {
            value["programs"] = json!([self.names[self.program()]]);
        }
        ask(&value, Kind::Follow, false, &["busy"])
    }

    fn reload(&mut self) -> Ask {
        let value = json!({
            "v": 1, "command": "reload", "dry_run": self.chance.one_in(3),
            "wait": self.chance.one_in(2), "restart": !self.chance.one_in(4),
        });
        let codes: &[&str] = &["invalid-config", "busy", "superseded"];
        ask(&value, Kind::Other, true, codes)
    }
}
