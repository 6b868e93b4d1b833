//! System calls of a process that runs fail or take their time: `strace` attaches itself to it.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::attached::Attached;
use crate::command::{Answer, wait_until};

/// How long attaching to each thread may take.
const LIMIT: Duration = Duration::from_secs(10);
const INTERVAL: Duration = Duration::from_millis(20);

/// Does `injection` (as strace's manual calls it, `error=EIO` or `delay_enter=µs`) to these calls of a process, only to those
/// that name `path` if one is given, from when this returns until what it returns is dropped. A process may have ended over
/// it by then.
pub fn inject(
    process: u32,
    calls: &str,
    injection: &str,
    path: Option<&Path>,
    directory: &Path,
) -> Result<Attached> {
    let output = directory.join("strace.log");
    let id = process.to_string();
    let mut words: Vec<OsString> = ["-f", "-qq", "-p", &id, "-e"].map(Into::into).to_vec();
    words.extend([
        format!("trace={calls}").into(),
        "-e".into(),
        format!("inject={calls}:{injection}").into(),
    ]);
    words.extend(path.into_iter().flat_map(|path| ["-P".into(), path.into()]));
    words.extend(["-o".into(), output.into()]);
    let mut tracer = Attached::new("strace", "strace".into(), words, directory.join("strace.out"));
    tracer.spawn()?;
    wait_until(&format!("strace is attached to process {process}"), LIMIT, INTERVAL, || {
        // Whom it traces it outlives by little.
        let alive = tracer.check_alive();
        if has_ended(process) {
            return Answer::Yes;
        }
        match alive {
            Ok(()) => Answer::from(ensure_traced(process)),
            Err(error) => Answer::Never(format!("{error:#}")),
        }
    })?;
    Ok(tracer)
}

/// Whether a process is gone, or waits for its parent to notice.
fn has_ended(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let state = status.lines().find_map(|line| line.strip_prefix("State:"));
    state.is_none_or(|state| state.trim_start().starts_with('Z'))
}

/// Fails unless every thread of a process is traced.
fn ensure_traced(process: u32) -> Result<()> {
    let threads = PathBuf::from(format!("/proc/{process}/task"));
    for thread in fs::read_dir(&threads).with_context(|| format!("list {}", threads.display()))? {
        let status = thread?.path().join("status");
        // A thread may end meanwhile.
        let Ok(text) = fs::read_to_string(&status) else { continue };
        let tracer = text.lines().find_map(|line| line.strip_prefix("TracerPid:")).context("no TracerPid")?;
        ensure!(tracer.trim() != "0", "{} says that nobody traces it", status.display());
    }
    Ok(())
}
