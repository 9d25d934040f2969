//! What the process takes from itself before it runs anybody's code. None of it can be had back.
//!
//! The kernel decides what it can do: what it cannot is told (`Confinement`), and the operator reads of it in the log and from `trunkline doctor`.

use serde::{Deserialize, Serialize};

/// Which walls stand around the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "four walls, each of which stands or does not")]
pub struct Confinement {
    /// No file can be opened, no address connected to (Landlock).
    pub landlock: bool,
    /// Only the few system calls that computing and the pipe need (seccomp).
    pub seccomp: bool,
    /// A network, users and processes of its own, of which there are none (namespaces). Containers often forbid this; then the others have to do.
    pub namespaces: bool,
    /// Limits on descriptors, processes, data and files (rlimits).
    pub limits: bool,
}

impl Confinement {
    /// The walls that are missing although a kernel of today has them.
    pub fn missing(self) -> Vec<&'static str> {
        let walls = [(self.landlock, "Landlock"), (self.seccomp, "seccomp"), (self.limits, "rlimits")];
        walls.into_iter().filter(|(stands, _)| !stands).map(|(_, name)| name).collect()
    }
}

pub(crate) use system::*;

#[cfg(target_os = "linux")]
mod system {
    use std::{collections::BTreeMap, path::Path};

    use landlock::{
        ABI, Access as _, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _,
        RulesetError, RulesetStatus, Scope,
    };
    use nix::{
        libc,
        sched::{CloneFlags, unshare},
        sys::{
            prctl,
            resource::{Resource, setrlimit},
        },
    };
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
    };

    /// Calls that compute for a moment only are a little below everything else on this machine; the long ones come last (`fall_behind`).
    const NICE: i32 = 5;
    /// The newest rules that we know of; older kernels keep as many of them as they can.
    const RULES: ABI = ABI::V6;
    /// Data of the process, in bytes: a call's memory, frames, stacks, and what the allocator keeps in reserve, which is a GiB.
    const MAX_DATA_BYTES: u64 = 4 * 1024 * 1024 * 1024;

    /// Before there are threads: nothing of the network and of other processes is there any more. Fails where the system does not allow it.
    pub(crate) fn separate() -> bool {
        // What is here is nobody's business: no core, no debugger.
        let _ = prctl::set_dumpable(false);
        let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        let _ = rustix::process::setpriority_process(None, NICE);
        let all = CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS;
        unshare(all).is_ok()
    }

    /// From now on this thread computes only when nobody else on this machine wants to, and gives way at once. There is no way back.
    pub(crate) fn fall_behind() {
        use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy};
        let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
        // It also sets a nice value, which the filter refuses and this policy does not look at: so the result says nothing.
        let _ = set_thread_priority_and_policy(thread_priority::thread_native_id(), ThreadPriority::Min, idle);
    }

    /// From here on only this directory can be opened; `None`: nothing. Holds for this thread and those that it starts.
    pub(crate) fn only(directory: Option<&Path>) -> bool {
        restrict(directory).is_ok_and(|status| status != RulesetStatus::NotEnforced)
    }

    fn restrict(directory: Option<&Path>) -> Result<RulesetStatus, RulesetError> {
        let rules = Ruleset::default()
            .handle_access(AccessFs::from_all(RULES))?
            .handle_access(AccessNet::from_all(RULES))?
            .scope(Scope::from_all(RULES))?;
        let mut rules = rules.create()?;
        if let Some(directory) = directory.and_then(|directory| PathFd::new(directory).ok()) {
            rules = rules.add_rule(PathBeneath::new(directory, AccessFs::from_all(RULES)))?;
        }
        Ok(rules.restrict_self()?.ruleset)
    }

    /// No more files, processes or descriptors than there are.
    pub(crate) fn limit() -> bool {
        let limits = [
            (Resource::RLIMIT_NOFILE, 16),
            (Resource::RLIMIT_NPROC, 0),
            (Resource::RLIMIT_FSIZE, 0),
            (Resource::RLIMIT_DATA, MAX_DATA_BYTES),
        ];
        limits.into_iter().fold(true, |all, (what, most)| setrlimit(what, most, most).is_ok() && all)
    }

    /// The calls that computing, waiting and the pipe need, for all threads. Memory that is code cannot be had any more. Everything else
    /// fails as "not permitted".
    pub(crate) fn filter() -> bool {
        program().is_ok_and(|program| seccompiler::apply_filter_all_threads(&program).is_ok())
    }

    fn program() -> Result<BpfProgram, seccompiler::BackendError> {
        let free = [
            libc::SYS_read,
            libc::SYS_write,
            libc::SYS_readv,
            libc::SYS_writev,
            libc::SYS_futex,
            libc::SYS_munmap,
            libc::SYS_madvise,
            libc::SYS_mremap,
            libc::SYS_brk,
            libc::SYS_clock_gettime,
            libc::SYS_clock_nanosleep,
            libc::SYS_nanosleep,
            libc::SYS_getrandom,
            libc::SYS_sched_yield,
            libc::SYS_sched_getaffinity,
            libc::SYS_gettid,
            libc::SYS_getpid,
            libc::SYS_sigaltstack,
            libc::SYS_rt_sigaction,
            libc::SYS_rt_sigprocmask,
            libc::SYS_rt_sigreturn,
            libc::SYS_restart_syscall,
            libc::SYS_membarrier,
            // A thread that is just beginning, as the one that keeps the engine's compiled code.
            libc::SYS_rseq,
            libc::SYS_set_robust_list,
            libc::SYS_exit,
            libc::SYS_exit_group,
        ];
        let mut rules: BTreeMap<i64, Vec<SeccompRule>> = free.into_iter().map(|call| (call, Vec::new())).collect();
        let executable = u64::from(libc::PROT_EXEC.unsigned_abs());
        for call in [libc::SYS_mmap, libc::SYS_mprotect] {
            let is_data = SeccompCondition::new(2, SeccompCmpArgLen::Dword, SeccompCmpOp::MaskedEq(executable), 0)?;
            rules.insert(call, vec![SeccompRule::new(vec![is_data])?]);
        }
        let last = u64::from(libc::SCHED_IDLE.unsigned_abs());
        let is_last = SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, last)?;
        rules.insert(libc::SYS_sched_setscheduler, vec![SeccompRule::new(vec![is_last])?]);
        let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
        let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
        SeccompFilter::new(rules, refuse, SeccompAction::Allow, architecture)?.try_into()
    }
}

/// Elsewhere there are no such walls: WebAssembly and a process of its own have to do, as on a developer's computer.
#[cfg(not(target_os = "linux"))]
mod system {
    use std::path::Path;

    pub(crate) fn separate() -> bool {
        false
    }

    pub(crate) fn fall_behind() {}

    pub(crate) fn only(_: Option<&Path>) -> bool {
        false
    }

    pub(crate) fn limit() -> bool {
        false
    }

    pub(crate) fn filter() -> bool {
        false
    }
}
