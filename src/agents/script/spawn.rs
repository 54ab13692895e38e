//! Starts processes from a thread that lives as long as this process, because the kernel ends a runner when the thread
//! that started it ends.

use std::process::Stdio;
use std::sync::{OnceLock, mpsc};

use tokio::process::{Child, Command};
use tokio::sync::oneshot;

struct Order {
    command: Command,
    runtime: tokio::runtime::Handle,
    started: oneshot::Sender<std::io::Result<Child>>,
}

/// Starts a process with pipes for its input and output, an empty environment, and a process group of its own.
pub(super) async fn spawn(mut command: Command) -> std::io::Result<Child> {
    static ORDERS: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    command
        .env_clear()
        // Large blocks go back to the system as soon as they are free, so that resident memory stays near the memory in
        // use.
        .env("_RJEM_MALLOC_CONF", "narenas:1,oversize_threshold:1048576")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        // Ctrl-C is for this process, which ends its runners when their work is done.
        .process_group(0)
        .kill_on_drop(true);
    let orders = ORDERS.get_or_init(|| {
        let (orders, ordered) = mpsc::channel::<Order>();
        // If the thread can't be started, each order is refused below, because nothing receives it.
        let _ = std::thread::Builder::new().name("runners".to_owned()).spawn(move || {
            for Order { mut command, runtime, started } in ordered {
                let _entered = runtime.enter();
                // A runtime that is shutting down panics here. The thread must go on for other callers.
                let spawning = std::panic::AssertUnwindSafe(|| command.spawn());
                let spawned = std::panic::catch_unwind(spawning);
                let _ = started.send(spawned.unwrap_or_else(|_| Err(std::io::Error::other("the process is stopping"))));
            }
        });
        orders
    });
    let (started, starting) = oneshot::channel();
    let refused = || std::io::Error::other("there is no thread that starts processes");
    let runtime = tokio::runtime::Handle::current();
    orders.send(Order { command, runtime, started }).map_err(|_| refused())?;
    starting.await.map_err(|_| refused())?
}
