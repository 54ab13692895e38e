//! Limits what a script runner allocates: an allocator that counts and refuses, and the exit codes
//! that say why a runner ended.
//!
//! The interpreter checks its heap only now and then, and one `l + l` or `x * x` allocates far more
//! in a single step. So every allocation is checked. In processes that are no runners this costs
//! one read of a flag.

#![expect(
    unsafe_code,
    reason = "GlobalAlloc is an unsafe trait whose calls are passed on unchanged; a signal handler may only call _exit"
)]

use std::alloc::{GlobalAlloc, Layout};
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// The run exceeded its memory limit.
pub(super) const OVER_MEMORY: i32 = 81;
/// The run exhausted its stack.
pub(super) const OVER_STACK: i32 = 82;
/// The runner could not work, and no script is to blame.
pub(super) const NOT_ABLE: i32 = 83;

/// What one run may allocate beyond what its runner kept before. The interpreter ends a run at 64
/// MiB of values. Its arena doubles as it grows, so 64 MiB of values may need half as much again.
const MOST_OF_A_RUN: isize = 96 << 20;
/// From this size on, an allocation may be refused without ending the process: the interpreter's
/// arena then asks for half as much.
const LARGE: usize = 1 << 20;

static COUNTING: AtomicBool = AtomicBool::new(false);
/// Bytes in use since counting began. Only one thread allocates, the one that runs scripts, so
/// plain loads and stores suffice.
static LIVE: AtomicIsize = AtomicIsize::new(0);
static LIMIT: AtomicIsize = AtomicIsize::new(isize::MAX);
/// Whether this run was refused an allocation because of its limit.
static REFUSED: AtomicBool = AtomicBool::new(false);
/// Whether the system had no memory left although the run was below its limit.
static EXHAUSTED: AtomicBool = AtomicBool::new(false);

/// An allocator that enforces the limit in runners, and only forwards to the one below elsewhere.
pub struct Bounded<A>(pub A);

impl<A> Bounded<A> {
    /// Whether `bytes` more may be allocated. A small allocation over the limit ends the process,
    /// because the interpreter can't go on without it.
    fn allows(bytes: usize) -> bool {
        let more = isize::try_from(bytes).unwrap_or(isize::MAX);
        if LIVE.load(Relaxed).saturating_add(more) <= LIMIT.load(Relaxed) {
            return true;
        }
        REFUSED.store(true, Relaxed);
        if bytes < LARGE {
            exit_now(OVER_MEMORY);
        }
        false
    }

    fn count(bytes: usize, sign: isize) {
        let bytes = isize::try_from(bytes).unwrap_or(isize::MAX).wrapping_mul(sign);
        LIVE.store(LIVE.load(Relaxed).wrapping_add(bytes), Relaxed);
    }

    fn counted(given: *mut u8, bytes: usize) -> *mut u8 {
        if given.is_null() {
            EXHAUSTED.store(true, Relaxed);
        } else {
            Self::count(bytes, 1);
        }
        given
    }
}

// SAFETY: each call forwards its arguments to the allocator below, or returns null, which the trait
// allows.
unsafe impl<A: GlobalAlloc> GlobalAlloc for Bounded<A> {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !COUNTING.load(Relaxed) {
            return unsafe { self.0.alloc(layout) };
        }
        if !Self::allows(layout.size()) {
            return std::ptr::null_mut();
        }
        Self::counted(unsafe { self.0.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !COUNTING.load(Relaxed) {
            return unsafe { self.0.alloc_zeroed(layout) };
        }
        if !Self::allows(layout.size()) {
            return std::ptr::null_mut();
        }
        Self::counted(unsafe { self.0.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, given: *mut u8, layout: Layout) {
        if COUNTING.load(Relaxed) {
            Self::count(layout.size(), -1);
        }
        unsafe { self.0.dealloc(given, layout) };
    }

    unsafe fn realloc(&self, given: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !COUNTING.load(Relaxed) {
            return unsafe { self.0.realloc(given, layout, size) };
        }
        // Both blocks may exist for a moment, so the new size counts in full.
        if size > layout.size() && !Self::allows(size) {
            return std::ptr::null_mut();
        }
        let moved = Self::counted(unsafe { self.0.realloc(given, layout, size) }, size);
        if !moved.is_null() {
            Self::count(layout.size(), -1);
        }
        moved
    }
}

/// Begins to count, and makes a process that aborts report the reason by its exit code.
pub(super) fn bound_this_process() {
    let told = SigAction::new(SigHandler::Handler(on_abort), SaFlags::empty(), SigSet::empty());
    // SAFETY: the handler reads atomics and calls _exit. A signal handler may do both.
    if unsafe { sigaction(Signal::SIGABRT, &told) }.is_err() {
        exit_now(NOT_ABLE);
    }
    COUNTING.store(true, Relaxed);
}

/// Sets the limit of a new run.
pub(super) fn begin_run() {
    REFUSED.store(false, Relaxed);
    EXHAUSTED.store(false, Relaxed);
    LIMIT.store(live().saturating_add(MOST_OF_A_RUN), Relaxed);
}

/// Whether the run was refused an allocation because of its limit.
pub(super) fn was_refused() -> bool {
    REFUSED.load(Relaxed)
}

/// Bytes in use since counting began.
pub(super) fn live() -> isize {
    LIVE.load(Relaxed)
}

/// Ends the process at once: no destructor and no handler of the C library runs.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: _exit takes any number and does not return.
    unsafe { libc::_exit(code) }
}

/// A refused allocation and a stack overflow both end in an abort.
extern "C" fn on_abort(_: libc::c_int) {
    exit_now(if REFUSED.load(Relaxed) {
        OVER_MEMORY
    } else if EXHAUSTED.load(Relaxed) {
        NOT_ABLE
    } else {
        OVER_STACK
    });
}
