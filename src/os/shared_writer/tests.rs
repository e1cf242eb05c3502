use super::*;
use crate::os::descriptors::wait_for_close;
use std::fs::File;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;

/// Held by each test that may set the alarm: timer and handler belong to the process.
static ALARM: Mutex<()> = Mutex::new(());

/// A pipe of one page, to be written in this way; reading from it never blocks.
fn pipe(way: Way) -> (File, SharedWriter<OwnedFd>) {
    let (reader, writer) = nix::unistd::pipe2(OFlag::O_CLOEXEC).expect("a pipe");
    for end in [&reader, &writer] {
        // SAFETY: F_SETPIPE_SZ takes an integer; the descriptor is open.
        unsafe { libc::fcntl(end.as_raw_fd(), libc::F_SETPIPE_SZ, 4096) };
    }
    let flags = FcntlArg::F_SETFL(OFlag::O_NONBLOCK);
    fcntl(&reader, flags).expect("a flag");
    let writer = SharedWriter {
        way,
        ..SharedWriter::new(writer)
    };
    (reader.into(), writer)
}

/// True if a write says so; one that is taken, or finds no room, finds a reader.
fn has_no_reader(writer: &mut SharedWriter<impl AsFd>) -> bool {
    let error = writer.write(b"x").err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn take(mut reader: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    let end = reader.read_to_end(&mut bytes).expect_err("no end of it");
    assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
    bytes
}

#[test]
fn each_kind_is_written_in_its_way() {
    let way = |fd: &dyn AsFd| format!("{:?}", way_of(fd.as_fd()));
    assert_eq!(way(&tempfile::tempfile().expect("a file")), "File");
    let (_reader, writer) = io::pipe().expect("a pipe");
    assert!(way(&writer).starts_with("Own"));
    let (socket, _other) = UnixStream::pair().expect("two sockets");
    assert_eq!(way(&socket), "Send");
    let null = File::options().write(true).open("/dev/null");
    assert_eq!(way(&null.expect("/dev/null")), "NoWait");
}

/// In both ways: as much as fits is taken, all of that arrives, and a full pipe is an error.
#[test]
fn what_fits_arrives_and_a_full_pipe_is_an_error() {
    let _alarm = ALARM.lock();
    for way in [Way::NoWait, Way::Timer] {
        let name = format!("{way:?}");
        let (reader, mut writer) = pipe(way);
        for round in 0..3 {
            let bytes: Vec<u8> = (0..10_000_u32).map(|at| (at + round) as u8).collect();
            let count = writer.write(&bytes).expect("room for a page");
            assert_eq!(count, 4096, "{name}: as much as there is room for");
            let full = writer.write(&bytes[count..]).expect_err("no room");
            assert_eq!(full.kind(), io::ErrorKind::WouldBlock, "{name}");
            assert_eq!(take(&reader), bytes[..count], "{name}");
        }
        drop(reader);
        wait_for_close(|| has_no_reader(&mut writer));
    }
}

#[test]
fn a_full_socket_is_an_error_and_a_closed_one_is_no_signal() {
    let (mut reader, socket) = UnixStream::pair().expect("two sockets");
    let mut writer = SharedWriter::new(socket);
    let mut written = 0;
    let full = loop {
        match writer.write(&[b'x'; 4096]) {
            Ok(count) => written += count,
            Err(error) => break error,
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
    let mut bytes = vec![0; written];
    reader.read_exact(&mut bytes).expect("all that was taken");
    drop(reader);
    wait_for_close(|| has_no_reader(&mut writer));
}

/// As on a terminal, which has no nonblocking write.
#[test]
fn where_the_flag_is_refused_it_is_written_all_the_same() {
    let _alarm = ALARM.lock();
    let name = c"/dev/full";
    let full = nix::fcntl::open(name, OFlag::O_WRONLY, Mode::empty()).expect("a device");
    let mut writer = SharedWriter::new(full);
    assert_eq!(writer.piece_bytes_max(), usize::MAX);
    let error = writer.write(b"x").expect_err("there is no room on it");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "the true answer");
    assert_eq!(writer.piece_bytes_max(), PIECE_BYTES_MAX);
}

static ALARMS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count_alarm(_: libc::c_int) {
    ALARMS.fetch_add(1, Ordering::SeqCst);
}

#[test]
fn timer_handler_mask_and_foreign_alarms_are_restored() {
    let _alarm = ALARM.lock();
    let handler: extern "C" fn(libc::c_int) = count_alarm;
    let every = |tv_sec| {
        let time = libc::timeval { tv_sec, tv_usec: 0 };
        libc::itimerval {
            it_interval: time,
            it_value: time,
        }
    };
    // SAFETY: the handler counts and does nothing else.
    unsafe { libc::signal(libc::SIGALRM, handler as libc::sighandler_t) };
    set_timer(&every(1000));
    let before = set_mask(libc::SIG_BLOCK, &SignalSet::of([libc::SIGALRM]));
    interruptible(|| {
        // SAFETY: a plain number; the signal is for this thread.
        unsafe { libc::raise(libc::SIGALRM) };
        assert_eq!(ALARMS.load(Ordering::SeqCst), 0, "the handler is ours");
        // Long enough for the timer to expire as well: no event is hoped for, only time has to pass.
        let expiry = std::time::Duration::from_micros(WAIT_MICROSECONDS_MAX as u64);
        std::thread::sleep(5 * expiry);
    });
    let mask = set_mask(libc::SIG_SETMASK, &before);
    assert!(mask.has(libc::SIGALRM), "the mask is as it was");
    while ALARMS.load(Ordering::SeqCst) == 0 {
        // It is raised again.
        std::thread::yield_now();
    }
    let timer = set_timer(&every(0));
    assert_eq!(timer.it_interval.tv_sec, 1000, "the alarm goes on");
    assert!(timer.it_value.tv_sec >= 990, "{}", timer.it_value.tv_sec);
    // A late one may still be on its way to another thread of these tests.
    // SAFETY: to ignore it is no code of ours.
    unsafe { libc::signal(libc::SIGALRM, libc::SIG_IGN) };
}
