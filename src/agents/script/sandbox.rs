//! Isolates a script runner: it ends with its parent, and the kernel refuses it files, sockets and
//! processes.

use std::io::{Error, ErrorKind};
use std::net::TcpStream;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::getppid;

use super::memory;

/// Makes the kernel kill this process when its parent ends, and ends it if the parent is gone
/// already. Other processes can't read its memory.
pub(super) fn die_with(parent: Option<i32>) {
    #[cfg(target_os = "linux")]
    {
        use nix::sys::prctl;
        use nix::sys::signal::Signal;
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        let _ = prctl::set_dumpable(false);
    }
    // The parent may have ended before the kernel was told.
    if parent.is_some_and(|parent| getppid().as_raw() != parent) {
        memory::exit_now(memory::NOT_ABLE);
    }
}

/// Ends this process as soon as its standard input is closed, even in the middle of a run.
pub(super) fn die_with_standard_input() -> std::io::Result<()> {
    let (here, there) = std::sync::mpsc::sync_channel(1);
    let watching = move || {
        let _ = here.send(());
        loop {
            let input = std::io::stdin();
            // Without a request for data, poll wakes only when the other side closes.
            let mut ends = [PollFd::new(std::os::fd::AsFd::as_fd(&input), PollFlags::empty())];
            let polled = poll(&mut ends, PollTimeout::NONE);
            let hung_up = ends.iter().any(|end| {
                end.revents()
                    .is_some_and(|seen| seen.intersects(PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL))
            });
            if hung_up || polled.is_err_and(|error| error != nix::Error::EINTR) {
                memory::exit_now(0);
            }
        }
    };
    std::thread::Builder::new().name("parent".to_owned()).stack_size(64 << 10).spawn(watching)?;
    // Starting a thread makes system calls that the sandbox refuses, so the thread must have
    // started before.
    there.recv().map_err(Error::other)
}

/// The system's id of this thread.
pub(super) fn this_thread() -> i32 {
    #[cfg(target_os = "linux")]
    return nix::unistd::gettid().as_raw();
    #[cfg(not(target_os = "linux"))]
    return 0;
}

/// Reads how much memory this process has taken. The file is opened before the sandbox refuses
/// that.
pub(super) struct Resident {
    file: std::fs::File,
    page: u64,
}

impl Resident {
    /// None on a system without this file.
    pub(super) fn open() -> Option<Self> {
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten()?;
        Some(Self { file: std::fs::File::open("/proc/self/statm").ok()?, page: u64::try_from(page).ok()? })
    }

    /// The private bytes. Pages of files, mostly of the program, are shared with other processes.
    pub(super) fn bytes(&self) -> Option<u64> {
        let mut read = [0; 128];
        let bytes = std::os::unix::fs::FileExt::read_at(&self.file, &mut read, 0).ok()?;
        let text = std::str::from_utf8(read.get(..bytes)?).ok()?;
        let mut pages = text.split_whitespace().skip(1).map(|field| field.parse::<u64>().ok());
        let (resident, shared) = (pages.next()??, pages.next()??);
        Some(resident.saturating_sub(shared) * self.page)
    }
}

/// Allows all threads of this process only the system calls that running scripts needs. All others
/// are refused with EPERM. The error says why the kernel can't do that.
#[cfg(target_os = "linux")]
pub(super) fn enter() -> Result<(), String> {
    use nix::libc;
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    };

    let mut calls = vec![
        // Requests and answers.
        libc::SYS_read,
        libc::SYS_pread64,
        libc::SYS_write,
        libc::SYS_writev,
        libc::SYS_ppoll,
        libc::SYS_close,
        // Memory.
        libc::SYS_mmap,
        libc::SYS_munmap,
        libc::SYS_mremap,
        libc::SYS_mprotect,
        libc::SYS_madvise,
        libc::SYS_brk,
        // Time, randomness, existing threads, exit.
        libc::SYS_clock_gettime,
        libc::SYS_getrandom,
        libc::SYS_getrusage,
        libc::SYS_futex,
        libc::SYS_sched_yield,
        libc::SYS_restart_syscall,
        libc::SYS_rt_sigaction,
        libc::SYS_rt_sigprocmask,
        libc::SYS_rt_sigreturn,
        libc::SYS_sigaltstack,
        libc::SYS_getpid,
        libc::SYS_gettid,
        libc::SYS_exit,
        libc::SYS_exit_group,
    ];
    #[cfg(target_arch = "x86_64")]
    calls.push(libc::SYS_poll);
    let filter = || {
        // A process aborts by a signal to itself, and may read its own limits. Signals to other
        // processes and their limits are refused.
        let first_is = |value: u64| {
            let first = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, value)?;
            Ok(vec![SeccompRule::new(vec![first])?])
        };
        let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
            calls.iter().map(|call| (*call, Vec::new())).collect();
        rules.insert(libc::SYS_tgkill, first_is(u64::from(std::process::id()))?);
        rules.insert(libc::SYS_prlimit64, first_is(0)?);
        let refused = SeccompAction::Errno(u32::try_from(libc::EPERM).unwrap_or(1));
        let arch = std::env::consts::ARCH.try_into()?;
        BpfProgram::try_from(SeccompFilter::new(rules, refused, SeccompAction::Allow, arch)?)
    };
    let program = filter().map_err(|error: seccompiler::BackendError| error.to_string())?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

#[cfg(not(target_os = "linux"))]
pub(super) fn enter() -> Result<(), String> {
    Err("this system has no seccomp".to_owned())
}

/// Tries what no script may ever do, from inside the sandbox, and reports for each try whether it
/// was refused.
pub fn self_test() -> String {
    die_with(None);
    if let Err(why) = enter() {
        return format!("no sandbox: {why}");
    }
    let refused = |what: &str, tried: std::io::Result<()>| match tried {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => format!("{what}: refused"),
        Err(error) => format!("{what}: failed otherwise: {error}"),
        Ok(()) => format!("{what}: allowed"),
    };
    let parent = getppid();
    [
        refused("open a file", std::fs::File::open("/etc/passwd").map(|_| ())),
        refused("write a file", std::fs::write("/tmp/textback-sandbox", "x")),
        refused("list a folder", std::fs::read_dir("/").map(|_| ())),
        refused("read the parent's environment", std::fs::read(format!("/proc/{parent}/environ")).map(|_| ())),
        refused("connect a socket", TcpStream::connect(("127.0.0.1", 9)).map(|_| ())),
        refused("listen on a socket", std::net::TcpListener::bind(("127.0.0.1", 0)).map(|_| ())),
        refused("send a datagram", std::net::UdpSocket::bind(("127.0.0.1", 0)).map(|_| ())),
        refused("start a process", Command::new("/bin/true").spawn().map(|_| ())),
        refused(
            "become another program",
            Err(std::os::unix::process::CommandExt::exec(&mut Command::new("/bin/true"))),
        ),
        refused("start a thread", std::thread::Builder::new().spawn(|| ()).map(|_| ())),
        refused("signal the parent", nix::sys::signal::kill(parent, None).map_err(Error::from)),
        refused("trace the parent", trace(parent)),
    ]
    .join("\n")
}

#[cfg(target_os = "linux")]
fn trace(process: nix::unistd::Pid) -> std::io::Result<()> {
    Err(Error::from(nix::sys::ptrace::attach(process).err().unwrap_or(nix::Error::EALREADY)))
}

#[cfg(not(target_os = "linux"))]
fn trace(_: nix::unistd::Pid) -> std::io::Result<()> {
    Err(ErrorKind::PermissionDenied.into())
}
