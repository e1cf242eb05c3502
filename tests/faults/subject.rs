//! The subjects: how each is played, undisturbed and with a fault, and who judges it.

use std::sync::OnceLock;
use std::time::Duration;

use super::fault::{Fault, Kind, Side};
use super::judge::{Verdict, judge};
use super::play::{Manner, Record, play};
use super::sites::Sites;
use super::{host, init, memory};

/// Whose calls are looked at. What comes first is told first.
pub const SIDES: [Side; 5] = [Side::Own, Side::Child, Side::Host, Side::Init, Side::Memory];

/// Who plays.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// `run`.
    #[default]
    Run,
    /// The same where memory is asked for page by page.
    Memory,
    /// A host with children of its own.
    Host,
    /// `init`.
    Init,
}

impl Subject {
    fn of(side: Side) -> Self {
        match side {
            Side::Own | Side::Child => Self::Run,
            Side::Memory => Self::Memory,
            Side::Host => Self::Host,
            Side::Init => Self::Init,
        }
    }

    fn play(self, manner: &Manner<'_>) -> Record {
        match self {
            Self::Run | Self::Memory | Self::Host => play(manner),
            Self::Init => init::play(manner),
        }
    }

    fn judge(self, fault: Option<&Fault>, record: &Record, usual: &Record) -> Verdict {
        let verdict = match self {
            Self::Run | Self::Memory => judge(fault, record, usual),
            Self::Host => host::judge_host(fault, record, usual),
            Self::Init => init::judge(fault, record, usual),
        };
        match fault {
            Some(fault) if fault.is_refusal_with_a_fallback() => unnoticed(verdict, record),
            _ => verdict,
        }
    }

    /// It where nothing fails, to compare with. Played once, when it is first asked for.
    fn usual(self) -> &'static Record {
        static USUAL: [OnceLock<Record>; 4] = [const { OnceLock::new() }; 4];
        USUAL[self as usize].get_or_init(|| {
            let record = self.play(&self.traced(&["-y"]));
            let verdict = self.judge(None, &record, &record);
            assert_eq!(verdict, Verdict::Fine, "{self:?}: {:#?}", record.messages);
            record
        })
    }

    fn traced(self, arguments: &'static [&'static str]) -> Manner<'static> {
        Manner {
            subject: self,
            arguments,
            ..Manner::default()
        }
    }
}

/// How long a stop may take with a fallback: longer than any stop timeout of the scenarios, and
/// shorter than the wait for what does not die.
const UNNOTICED_STOP_MAX: Duration = Duration::from_secs(4);

/// Judges a play in which the fault must change nothing.
fn unnoticed(verdict: Verdict, record: &Record) -> Verdict {
    match verdict {
        Verdict::Fine if record.stop > UNNOTICED_STOP_MAX => {
            Verdict::Failed(vec![format!("a stop of {:?}", record.stop)])
        }
        Verdict::Said(losses) => {
            let said = record.messages.join("; ");
            Verdict::Failed(vec![format!("it was noticed: {losses:?}: {said}")])
        }
        Verdict::Refused => Verdict::Failed(vec!["it refused to start".to_owned()]),
        other => other,
    }
}

/// Plays with a fault. In a hurry, it may be too slow for its deadlines where the machine is busy.
pub fn disturbed(fault: &Fault, may_hurry: bool) -> (Record, Verdict) {
    let is_likely_down = fault.for_ever && !matches!(fault.kind, Kind::Delay(_));
    let subject = Subject::of(fault.side);
    let usual = subject.usual();
    let record = subject.play(&Manner {
        subject,
        fault: Some(fault),
        arguments: &[],
        hurry: may_hurry && (is_likely_down || fault.side == Side::Child),
        descriptors: &usual.descriptors,
    });
    let verdict = subject.judge(Some(fault), &record, usual);
    (record, verdict)
}

/// What can happen to one side.
#[derive(Default)]
pub struct Catalogue {
    pub sites: usize,
    pub faults: Vec<Fault>,
    /// What each site is for.
    pub purposes: Vec<String>,
}

impl Catalogue {
    /// Whether this side is played where these parts of names are asked for. A part that begins
    /// as the names of a side do asks for that one alone.
    pub fn is_asked(side: Side, parts: &[&str]) -> bool {
        let begins = |part: &str, side: Side| part.starts_with(&side.to_string());
        let asks =
            |part: &&str| begins(part, side) || !SIDES.into_iter().any(|other| begins(part, other));
        parts.is_empty() || parts.iter().any(asks)
    }

    pub fn of(side: Side) -> Self {
        let usual = Subject::of(side).usual();
        let sites = match side {
            Side::Memory => {
                let faults = memory::faults(&usual.trace, &usual.directory);
                return Self {
                    sites: memory::count(&faults),
                    faults,
                    purposes: Vec::new(),
                };
            }
            Side::Child => {
                let children = play(&Subject::Run.traced(&["-f", "-y"]));
                Sites::of_children(&children.trace, &children.directory)
            }
            Side::Host => Sites::own_from(host::BEGIN, &usual.trace, &usual.directory),
            Side::Own | Side::Init => Sites::own(&usual.trace, &usual.directory),
        };
        Self {
            sites: sites.count(),
            faults: sites.faults(side),
            purposes: sites.purposes().collect(),
        }
    }
}
