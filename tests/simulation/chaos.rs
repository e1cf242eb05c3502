//! What can go wrong, one thing a step, as the seed decides.

use std::time::Duration;

use crate::machine::{Backoff, Command, Exit, ExitSet, Policy, ProgramId, Restart};

use super::driver::Driver;
use super::world::Temper;
use crate::model::account::Time;
use crate::model::ledger::Check;
use crate::model::rng::Rng;

const MILLISECOND: Time = 1_000_000;
const SECOND: Time = 1_000 * MILLISECOND;
/// Deadlines farther away than this are not waited for.
pub const HORIZON: Time = 100 * 86_400 * SECOND;

/// Starts of a flapping program in one step; more than the timers may keep deadlines.
const FLAPS: usize = 40;

/// What one seed decides at its beginning.
pub struct Mood {
    /// The step of the first stop; many come after the last step.
    stop_at: usize,
    /// How often something dies: one in so many steps that could.
    calm: u64,
}

pub fn any_exit(rng: &mut Rng) -> Exit {
    match rng.below(8) {
        0..=2 => Exit::Code(0),
        3..=5 => Exit::Code(1 + rng.below(255) as i32),
        6 => Exit::Signal {
            signal: rng.pick(&[6, 9, 11, 15]),
            core_dumped: rng.one_in(2),
        },
        _ => Exit::Unknown,
    }
}

fn any_policy(rng: &mut Rng, extreme: bool) -> Policy {
    const EXTREMES: [Duration; 4] = [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_secs(u64::MAX),
        Duration::MAX,
    ];
    let usual = [
        0, 1, 1_000, 100_000, 500_000, 1_000_000, 1_000_000, 30_000_000, 60_000_000,
    ];
    let duration = |rng: &mut Rng| {
        if extreme && rng.one_in(2) {
            rng.pick(&EXTREMES)
        } else {
            Duration::from_micros(rng.pick(&usual))
        }
    };
    let initial = duration(rng);
    let backoff = if !extreme && rng.one_in(3) {
        Backoff::default()
    } else {
        Backoff {
            initial,
            max: duration(rng).max(initial),
            reset_after: duration(rng),
        }
    };
    let restart = rng.pick(&[
        Restart::Always,
        Restart::Always,
        Restart::Always,
        Restart::OnFailure,
        Restart::OnFailure,
        Restart::Never,
    ]);
    let mut success = ExitSet::default();
    let mut permanent = ExitSet::default();
    if rng.one_in(8) {
        success.insert(any_exit(rng));
        permanent.insert(Exit::Code(rng.pick(&[0, 1, 78])));
    }
    Policy {
        stops_main: false,
        restart,
        autostart: true,
        essential: rng.one_in(16),
        backoff,
        jitter: 0,
        max_restarts: rng.one_in(8).then(|| rng.below(4) as u32),
        success,
        permanent,
        ready: rng.one_in(4),
        oneshot: rng.one_in(8),
        start_timeout: rng
            .one_in(2)
            .then(|| Duration::from_millis(rng.pick(&[1, 500, 10_000, 60_000]))),
        watchdog: rng
            .one_in(8)
            .then(|| Duration::from_millis(rng.pick(&[20_000, 60_000]))),
        stop_signal: rng.pick(&[15, 15, 15, 2, 1, 9]),
        stop_timeout: if rng.one_in(3) {
            Duration::from_secs(10)
        } else {
            duration(rng)
        },
    }
}

/// The world, the programs and the mood that chance decides first.
pub fn begin(mut rng: Rng, traced: bool) -> (Driver, Mood) {
    let extreme = rng.one_in(16);
    let programs = 1 + rng.index(6);
    let policies = (0..programs)
        .map(|_| any_policy(&mut rng, extreme))
        .collect();
    let mood = Mood {
        stop_at: rng.index(400),
        calm: rng.pick(&[1, 1, 2, 4]),
    };
    let mut driver = Driver::new(rng, policies, traced);
    driver.now = driver
        .rng
        .pick(&[0, 1, 977 * SECOND, 1_000_000_000 * SECOND]);
    driver.by_number = driver.rng.one_in(2);
    let timeout = driver.rng.pick(&[0, 1_500, 4_000, 30_000]);
    let timeout = (timeout > 0 && driver.rng.one_in(2)).then(|| Duration::from_millis(timeout));
    driver.machine.set_shutdown_timeout(timeout);
    driver.ledger.shutdown_timeout = timeout;
    if driver.trace.is_some() {
        let by = if driver.by_number { "number" } else { "handle" };
        driver.say(format_args!("{programs} programs, signalled by {by}"));
        for (index, policy) in driver.policies.clone().iter().enumerate() {
            driver.say(format_args!("program {index}: {policy:?}"));
        }
    }
    (driver, mood)
}

impl Driver {
    /// The programs are started, nearly always all of them.
    pub fn start_all(&mut self) -> Check {
        for program in 0..self.programs() {
            if !self.rng.one_in(16) {
                self.command(Command::Start(ProgramId(program as u32)))?;
            }
        }
        self.turn()
    }

    /// One thing happens.
    pub fn step(&mut self, step: usize, mood: &Mood) -> Check {
        self.tally.steps += 1;
        if self.trace.is_some() {
            let world = self.world.describe();
            self.say(format_args!("step {step}: {world}"));
        }
        if step == mood.stop_at {
            self.stop_somehow()?;
        }
        match self.rng.below(38) {
            0..=5 => self.turn(),
            6..=8 => self.wake_at_deadline(),
            9..=11 => self.time_passes(),
            12..=15 => self.somebody_dies(mood),
            16 => self.storm(mood),
            17 | 18 => self.somebody_forks(),
            19 => self.somebody_is_held_up(),
            20 => self.thaw(),
            21 => self.tidy_up(),
            22 => self.exit_at_the_reset(),
            23 => self.die_at_a_deadline(),
            24 if self.rng.one_in(8) => self.somebody_flaps(),
            24 => self.command_somebody(),
            25 => self.tell_stale(),
            26..=28 => self.one_thing_alone(),
            29 => self.carry_out(1),
            30 | 31 => self.somebody_shows_a_sign(),
            32..=35 => self.somebody_executes(),
            _ if self.ledger.stopping && self.rng.one_in(8) => self.stop_somehow(),
            _ => self.timeout(),
        }?;
        self.tally.late += u64::from(self.has_late_orders());
        self.check()
    }

    fn stop_somehow(&mut self) -> Check {
        let kill = self.rng.one_in(4);
        self.command(if kill {
            Command::KillAll
        } else {
            Command::StopAll
        })
    }

    /// The clock goes on to the next deadline, or stalls beyond it, and the driver wakes.
    fn wake_at_deadline(&mut self) -> Check {
        self.advance_to_deadline();
        if self.rng.one_in(4) {
            self.now += self.rng.below(20 * SECOND);
        }
        self.turn()
    }

    fn advance_to_deadline(&mut self) {
        if let Some(deadline) = self.ledger.next_deadline()
            && deadline.saturating_sub(self.now) < HORIZON
        {
            self.now = self.now.max(deadline);
        }
    }

    fn time_passes(&mut self) -> Check {
        let most = self.rng.pick(&[
            2,
            MILLISECOND,
            100 * MILLISECOND,
            SECOND,
            SECOND,
            10 * SECOND,
            100 * SECOND,
            86_400 * SECOND,
        ]);
        if self.rng.one_in(8) {
            // One nanosecond too early.
            let before = self.now;
            self.advance_to_deadline();
            self.now = self.now.saturating_sub(1).max(before);
            return self.timeout();
        }
        self.now += self.rng.below(most);
        Ok(())
    }

    fn somebody_dies(&mut self, mood: &Mood) -> Check {
        if !self.rng.one_in(mood.calm) {
            return Ok(());
        }
        if let Some(number) = self.world.any_living(&mut self.rng) {
            let exit = any_exit(&mut self.rng);
            let lingers = self.rng.one_in(4);
            self.say(format_args!("world     {number} ends: {exit:?}"));
            self.world.end(number, exit, lingers);
        }
        Ok(())
    }

    /// Every leader dies, and one wake brings it all.
    fn storm(&mut self, mood: &Mood) -> Check {
        if !self.rng.one_in(mood.calm) {
            return Ok(());
        }
        self.say(format_args!("world     every leader ends"));
        for number in self.world.leaders() {
            let exit = any_exit(&mut self.rng);
            self.world.end(number, exit, false);
        }
        self.turn()
    }

    /// A new process executes its program, or finds that it cannot.
    fn somebody_executes(&mut self) -> Check {
        let launching = self.world.launching();
        if launching.is_empty() {
            return Ok(());
        }
        let number = self.rng.pick(&launching);
        if self.rng.one_in(3) {
            self.say(format_args!(
                "world     {number} cannot execute its program"
            ));
            self.world.end(number, Exit::Code(127), false);
        } else {
            self.say(format_args!("world     {number} executes its program"));
            self.world.execute(number);
        }
        Ok(())
    }

    fn somebody_forks(&mut self) -> Check {
        if let Some(number) = self.world.any_living(&mut self.rng) {
            let temper = self
                .rng
                .pick(&[Temper::Polite, Temper::Slow, Temper::Stubborn]);
            if self.world.fork(number, temper) {
                self.say(format_args!("world     {number} forks"));
            }
        }
        Ok(())
    }

    fn somebody_is_held_up(&mut self) -> Check {
        if let Some(number) = self.world.any_living(&mut self.rng) {
            if self.rng.one_in(2) {
                self.say(format_args!("world     {number} freezes"));
                self.world.freeze(number);
            } else {
                self.say(format_args!("world     {number} gets SIGSTOP"));
                self.world.stop(number);
            }
        }
        Ok(())
    }

    fn thaw(&mut self) -> Check {
        self.say(format_args!("world     the frozen thaw"));
        self.world.thaw();
        Ok(())
    }

    fn tidy_up(&mut self) -> Check {
        self.say(format_args!("world     the leaving leave"));
        self.world.tidy_up();
        Ok(())
    }

    /// A run ends one nanosecond before its delay begins anew, then, or one after.
    fn exit_at_the_reset(&mut self) -> Check {
        let program = self.rng.index(self.programs());
        let Some(reset) = self.ledger.accounts[program].resets_at() else {
            return Ok(());
        };
        let edge = reset.saturating_sub(1).saturating_add(self.rng.below(3));
        if edge < self.now || edge - self.now > HORIZON {
            return Ok(());
        }
        if let Some(number) = self.world.leader_of(program) {
            self.now = edge;
            self.tally.edges += 1;
            let exit = any_exit(&mut self.rng);
            self.say(format_args!(
                "world     {number} ends at the edge: {exit:?}"
            ));
            self.world.end(number, exit, false);
            self.facts()?;
        }
        Ok(())
    }

    /// Death and deadline in one wake: the fact comes first.
    fn die_at_a_deadline(&mut self) -> Check {
        self.advance_to_deadline();
        self.say(format_args!(
            "world     every leader ends, in the wake of the deadline"
        ));
        for number in self.world.leaders() {
            self.tally.raced += 1;
            let exit = any_exit(&mut self.rng);
            self.world.end(number, exit, false);
        }
        self.world.tidy_up();
        self.turn()
    }

    fn command_somebody(&mut self) -> Check {
        let program = ProgramId(self.rng.index(self.programs()) as u32);
        let command = match self.rng.below(16) {
            0..=6 => Command::Start(program),
            7..=10 => Command::Restart(program),
            11..=13 => Command::Stop(program),
            14 => Command::Kill(program),
            _ if self.rng.one_in(4) => Command::Remove(program),
            _ => Command::Start(program),
        };
        self.tally.by_hand += 1;
        self.command(command)
    }

    /// A run says that it is ready or alive, is found to be sick, or left something behind.
    fn somebody_shows_a_sign(&mut self) -> Check {
        let program = self.rng.index(self.programs());
        let Some(run) = self.latest_run(program) else {
            return Ok(());
        };
        let sign = self.any_sign(run);
        if self.by_number {
            self.facts()?;
        }
        self.tell(sign)
    }

    /// A program dies as often as an impatient operator starts it, and leaves a deadline that is
    /// called off each time.
    fn somebody_flaps(&mut self) -> Check {
        let program = self.rng.index(self.programs());
        for _ in 0..FLAPS {
            self.command(Command::Start(ProgramId(program as u32)))?;
            for _ in 0..self.programs() {
                self.start_one()?;
            }
            if let Some(number) = self.world.leader_of(program) {
                self.world.end(number, Exit::Code(1), false);
            }
            self.facts()?;
        }
        Ok(())
    }

    /// A driver that holds handles may tell one thing and leave the others for later.
    fn one_thing_alone(&mut self) -> Check {
        if self.by_number {
            return self.turn();
        }
        let program = self.rng.index(self.programs());
        match self.rng.below(5) {
            0 => self.tell_exit(program).map(|_| ()),
            1 => self.tell_gone(program),
            2 => self.timeout(),
            3 => self.tell_launch(program),
            _ => self.start_one().map(|_| ()),
        }
    }
}
