//! The lines that begin an answer and are known from its start: the plan of a reload, or what is
//! wrong with a config. There may be tens of thousands; they are written one by one, as their
//! reader takes them.

use procsched::Plan;

use super::client::Client;
use super::json;
use super::orders::Desk;
use super::protocol::Code;

/// The lines, and how many were queued.
#[derive(Debug)]
pub enum Preface {
    Plan { plan: Plan, queued: usize },
    Errors(std::vec::IntoIter<String>),
}

impl Preface {
    pub fn plan(plan: Plan) -> Self {
        Self::Plan { plan, queued: 0 }
    }

    pub fn errors(lines: Vec<String>) -> Self {
        Self::Errors(lines.into_iter())
    }

    /// Queues the next line. False if there is none.
    pub fn queue_next(&mut self, client: &mut Client, desk: &Desk<'_>) -> bool {
        match self {
            Self::Plan { plan, queued } => {
                let index = *queued;
                *queued += 1;
                queue_change(plan, index, client, desk)
            }
            Self::Errors(lines) => {
                let Some(line) = lines.next() else {
                    return false;
                };
                client.queue(|out| write_error(out, &line));
                true
            }
        }
    }
}

/// Queues this line of a plan: first the settings, then the programs that differ, then those that
/// others start, then the number of those that do not differ.
fn queue_change(plan: &Plan, index: usize, client: &mut Client, desk: &Desk<'_>) -> bool {
    let settings = plan.settings().len();
    let mut changes = plan.changes().iter().chain(plan.required());
    let count = plan.changes().len() + plan.required().len();
    if let Some(key) = plan.settings().get(index) {
        client.queue(|out| write_change(out, "*", key, "changes in place"));
    } else if let Some(change) = changes.nth(index - settings) {
        let (sign, mut what) = (change.kind().sign(), change.kind().to_string());
        if let Some(reason) = desk.stopped_by.reason_in_plan(change, desk.scheduler) {
            what = format!("{what}, {reason}");
        }
        let sign = String::from(sign);
        client.queue(|out| write_change(out, &sign, change.program(), &what));
    } else if index == settings + count {
        client.queue(|out| write_unchanged(out, plan.unchanged()));
    } else {
        return false;
    }
    true
}

fn write_error(out: &mut Vec<u8>, message: &str) {
    json::line(out, |line| {
        line.object("problem", |object| {
            object.text("code", Code::InvalidConfig.word());
            object.text("message", message);
        });
    });
}

fn write_change(out: &mut Vec<u8>, sign: &str, program: &str, text: &str) {
    json::line(out, |line| {
        line.object("change", |object| {
            object.text("program", program);
            object.text("change", sign);
            object.text("text", text);
        });
    });
}

fn write_unchanged(out: &mut Vec<u8>, count: usize) {
    json::line(out, |line| {
        line.object("change", |object| {
            object.text("change", "=");
            object.text("text", &format!("{count} unchanged"));
        });
    });
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::net::UnixStream;

    use procsched::{ChildSpec, ProcessScheduler, Reap};

    use super::super::client::PORTION_BYTES;
    use super::super::orders::Order;
    use super::super::protocol::{Problem, write_done};
    use super::super::stopped_by::StoppedBy;
    use super::*;

    /// The longest line of these tests.
    const LINE_BYTES_MAX: usize = 1024;

    /// Answers a client that reads from time to time, and returns the lines that it gets.
    fn answered(order: &mut Order, scheduler: &mut ProcessScheduler) -> Vec<String> {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let (mut reader, mut lines) = (BufReader::new(ours), Vec::new());
        // The end of a line may come later than its beginning.
        let mut line = String::new();
        for stream in [reader.get_ref(), &theirs] {
            stream.set_nonblocking(true).expect("non-blocking");
        }
        let mut client = Client::new(theirs).expect("a peer");
        let mut stopped_by = StoppedBy::default();
        let mut desk = Desk {
            scheduler,
            stopped_by: &mut stopped_by,
            given: Vec::new(),
        };
        for turn in 0.. {
            assert!(turn < 10_000, "there is no end");
            let is_finished = order.go_on(&mut client, &mut desk);
            let bytes = client.queued();
            assert!(bytes <= PORTION_BYTES + LINE_BYTES_MAX, "{bytes} bytes");
            if is_finished {
                order.finish(&mut client, write_done);
            } else if client.has_room() {
                assert!(order.has_work(&client), "it is not woken");
            }
            client.flush();
            if is_finished || turn % 3 == 2 {
                while reader.read_line(&mut line).is_ok() {
                    lines.push(std::mem::take(&mut line));
                    client.flush();
                }
            }
            if is_finished {
                break;
            }
        }
        lines
    }

    fn scheduler() -> ProcessScheduler {
        let built = ProcessScheduler::builder("/").reap(Reap::Own).build();
        built.expect("a scheduler without programs")
    }

    #[test]
    fn a_plan_of_ten_thousand_changes_is_queued_as_it_is_read() {
        let mut scheduler = scheduler();
        let specs = (0..10_000).map(|number| ChildSpec::new(format!("p{number}"), ["true"]));
        let specs: Vec<ChildSpec> = specs.collect();
        let plan = scheduler.plan(&specs).expect("a plan");
        let mut order = Order::settling(Preface::plan(plan), std::iter::empty(), None, None);
        let lines = answered(&mut order, &mut scheduler);
        assert_eq!(lines.len(), 10_002);
        assert!(lines[9_999].contains("\"p9999\""), "{}", lines[9_999]);
        assert!(lines[10_000].contains("0 unchanged"), "{}", lines[10_000]);
        assert_eq!(lines[10_001], "{\"ok\":true}\n");
    }

    #[test]
    fn ten_thousand_errors_are_queued_as_they_are_read() {
        let errors = (0..10_000).map(|number| format!("config:{number}: error: unknown key"));
        let problem = Problem::new(Code::InvalidConfig, "the config has 10000 errors");
        let preface = Preface::errors(errors.collect());
        let mut order = Order::settling(preface, std::iter::empty(), None, Some(problem));
        let lines = answered(&mut order, &mut scheduler());
        assert_eq!(lines.len(), 10_001);
        assert!(lines[9_999].contains("config:9999: error"));
        assert!(lines[10_000].starts_with("{\"ok\":false,"));
    }
}
