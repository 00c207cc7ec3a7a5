//! The compute gang: the process's one team of worker threads.
//!
//! A job is one closure that every member runs at once, in step: stage by stage, a barrier between stages.
//! Callers take turns in the order they came, one job a turn, so no caller starves another. Members run at
//! nice +10: the schedulers of the host stay responsive while the gang is busy.
//!
//! The one surprise: the calling thread does not compute. It sleeps, wakes every few milliseconds to ask
//! whether its caller still lives, and otherwise calls the job off; members notice at the next barrier.

use std::{
    cell::Cell,
    collections::VecDeque,
    hint::spin_loop,
    ops::Range,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, Thread},
    time::Duration,
};

use crate::error::{Error, Result};

/// How often a waiting caller asks whether it is still wanted.
const ALIVE_POLL: Duration = Duration::from_millis(4);
/// Spins before an idle member sleeps: about as long as a token's sampling takes.
const IDLE_SPINS: u32 = 4_000;
/// Spins at a barrier before the processor is offered to others.
const BARRIER_SPINS: u32 = 4_000;
/// Most threads that can be asked for.
pub const MAX_THREADS: usize = 256;
/// Bits that hold 0 ..= MAX_THREADS.
const SIZE_BITS: u32 = 9;
const NICE: i32 = 10;

/// The job was called off, or another member panicked: leave at once.
#[derive(Debug)]
pub struct CalledOff;

type Job<'a> = dyn Fn(&Member) -> std::result::Result<(), CalledOff> + Sync + 'a;

/// What members of one job share.
struct Shared {
    /// The job, its lifetime erased; valid until every member has left it.
    job: Cell<Option<*const Job<'static>>>,
    /// The number of the job, and how many members it has in the low bits (one word, so that a late riser
    /// never takes the size of another job for its own); a member starts when it changes.
    epoch: AtomicUsize,
    running: AtomicUsize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    /// Next index of the work that is shared out in a stage; three stages' worth, reset in rotation.
    next: [AtomicUsize; 3],
    called_off: AtomicBool,
    panicked: AtomicBool,
    caller: Mutex<Option<Thread>>,
}

// SAFETY: `job` is written only by the caller whose turn it is, before `epoch` is raised (release), and read
// only by members that saw the new epoch (acquire), all of which leave before the caller returns.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is only followed while the caller keeps the job alive.
unsafe impl Send for Shared {}

/// The gang; see the module.
pub struct Gang {
    shared: Arc<Shared>,
    members: Mutex<Vec<Thread>>,
    queue: Mutex<VecDeque<u64>>,
    served: Condvar,
}

/// One member's view of a job.
pub struct Member<'a> {
    pub index: usize,
    pub size: usize,
    shared: &'a Shared,
    stage: Cell<usize>,
}

/// The gang of this process.
pub fn gang() -> &'static Gang {
    static GANG: OnceLock<Gang> = OnceLock::new();
    GANG.get_or_init(|| Gang {
        shared: Arc::new(Shared {
            job: Cell::new(None),
            epoch: AtomicUsize::new(0),
            running: AtomicUsize::new(0),
            arrived: AtomicUsize::new(0),
            generation: AtomicUsize::new(0),
            next: Default::default(),
            called_off: AtomicBool::new(false),
            panicked: AtomicBool::new(false),
            caller: Mutex::new(None),
        }),
        members: Mutex::new(vec![]),
        queue: Mutex::new(VecDeque::new()),
        served: Condvar::new(),
    })
}

/// Cores that this process may really use: affinity and cgroup quota included.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, |count| count.get()).min(MAX_THREADS)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the mutexes here guard is never left half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gang {
    /// Runs `job` on `threads` members and waits for all of them.
    ///
    /// `Cancelled` when `alive` turned false meanwhile: then what the job writes is not to be used.
    pub fn run(&self, threads: usize, alive: &dyn Fn() -> bool, job: &Job<'_>) -> Result<()> {
        let _turn = self.take_turn(alive)?;
        let threads = self.recruit(threads.clamp(1, MAX_THREADS))?;
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes; this function does not return before `running` is zero, and no
        // member touches the job after it has lowered `running`.
        let erased = unsafe { std::mem::transmute::<*const Job<'_>, *const Job<'static>>(std::ptr::from_ref(job)) };
        shared.job.set(Some(erased));
        *lock(&shared.caller) = Some(thread::current());
        for next in &shared.next {
            next.store(0, Ordering::Relaxed);
        }
        shared.called_off.store(false, Ordering::Relaxed);
        shared.panicked.store(false, Ordering::Relaxed);
        shared.arrived.store(0, Ordering::Relaxed);
        shared.running.store(threads, Ordering::Relaxed);
        let number = shared.epoch.load(Ordering::Relaxed) >> SIZE_BITS;
        shared.epoch.store(number.wrapping_add(1) << SIZE_BITS | threads, Ordering::Release);
        for member in lock(&self.members).iter().take(threads) {
            member.unpark();
        }
        let mut cancelled = false;
        while shared.running.load(Ordering::Acquire) > 0 {
            thread::park_timeout(ALIVE_POLL);
            if !cancelled && !alive() {
                cancelled = true;
                shared.called_off.store(true, Ordering::Relaxed);
            }
        }
        shared.job.set(None);
        if shared.panicked.load(Ordering::Relaxed) {
            return Err(Error::Internal { reason: "a compute thread panicked".into() });
        }
        if cancelled { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// Waits until this caller is first in the queue.
    fn take_turn(&self, alive: &dyn Fn() -> bool) -> Result<Turn<'_>> {
        static TICKETS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let ticket = TICKETS.fetch_add(1, Ordering::Relaxed);
        let turn = Turn { gang: self, ticket };
        let mut queue = lock(&self.queue);
        queue.push_back(ticket);
        while queue.front() != Some(&ticket) {
            let waited = self.served.wait_timeout(queue, ALIVE_POLL);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            if queue.front() != Some(&ticket) && !alive() {
                drop(queue);
                return Err(Error::Cancelled);
            }
        }
        drop(queue);
        Ok(turn)
    }

    /// Makes sure that there are `wanted` members; fewer serve when the system gives no more threads.
    fn recruit(&self, wanted: usize) -> Result<usize> {
        let mut members = lock(&self.members);
        while members.len() < wanted {
            let (shared, index) = (Arc::clone(&self.shared), members.len());
            let epoch = shared.epoch.load(Ordering::Acquire);
            let name = format!("viva-compute-{index}");
            match thread::Builder::new().name(name).spawn(move || serve(&shared, index, epoch)) {
                Ok(handle) => members.push(handle.thread().clone()),
                Err(error) if members.is_empty() => {
                    return Err(Error::Internal { reason: format!("no compute thread: {error}") });
                }
                Err(_) => break,
            }
        }
        Ok(wanted.min(members.len()))
    }
}

/// A place in the queue; leaving it lets the next one in.
struct Turn<'a> {
    gang: &'a Gang,
    ticket: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(&self.gang.queue).retain(|ticket| *ticket != self.ticket);
        self.gang.served.notify_all();
    }
}

/// A member's life.
fn serve(shared: &Shared, index: usize, mut epoch: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: plain system call; 0 means the calling thread on Linux, and a refusal does no harm.
    unsafe {
        libc::setpriority(libc::PRIO_PROCESS, 0, NICE);
    }
    loop {
        let mut spins = 0;
        while shared.epoch.load(Ordering::Acquire) == epoch {
            spins += 1;
            if spins < IDLE_SPINS { spin_loop() } else { thread::park() }
        }
        epoch = shared.epoch.load(Ordering::Acquire);
        let size = epoch & ((1 << SIZE_BITS) - 1);
        if index >= size {
            continue;
        }
        if let Some(job) = shared.job.get() {
            let member = Member { index, size, shared, stage: Cell::new(0) };
            // SAFETY: the caller keeps the job alive until `running` is zero, and this member still counts.
            let job = unsafe { &*job };
            let work = std::panic::AssertUnwindSafe(|| job(&member));
            if std::panic::catch_unwind(work).is_err() {
                shared.panicked.store(true, Ordering::Relaxed);
                shared.called_off.store(true, Ordering::Relaxed);
            }
        }
        // Taken before leaving: after that, another caller may be in.
        let caller = lock(&shared.caller).clone();
        if shared.running.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(caller) = caller
        {
            caller.unpark();
        }
    }
}

impl Member<'_> {
    /// Waits until every member has come here; what they wrote before is then seen by all.
    pub fn barrier(&self) -> std::result::Result<(), CalledOff> {
        let shared = self.shared;
        let generation = shared.generation.load(Ordering::Acquire);
        if shared.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.size {
            shared.arrived.store(0, Ordering::Relaxed);
            // The counter of the stage before this one: nobody uses it any more, and it comes up again in two.
            shared.next[(self.stage.get() + 2) % 3].store(0, Ordering::Relaxed);
            shared.generation.store(generation.wrapping_add(1), Ordering::Release);
        } else {
            let mut spins = 0_u32;
            while shared.generation.load(Ordering::Acquire) == generation {
                if shared.called_off.load(Ordering::Relaxed) {
                    return Err(CalledOff);
                }
                spins += 1;
                if spins < BARRIER_SPINS { spin_loop() } else { thread::yield_now() }
            }
        }
        self.stage.set(self.stage.get() + 1);
        if shared.called_off.load(Ordering::Relaxed) { Err(CalledOff) } else { Ok(()) }
    }

    /// Shares `count` items out among the members, `grain` at a time, then meets them all.
    ///
    /// Who does which item is left to chance; so an item's result may not depend on it.
    pub fn share(
        &self,
        count: usize,
        grain: usize,
        mut work: impl FnMut(Range<usize>),
    ) -> std::result::Result<(), CalledOff> {
        let grain = grain.max(1);
        if self.size == 1 {
            work(0..count);
        } else {
            // The first helping is everybody's own: the same memory for the same member, token after token.
            let next = &self.shared.next[self.stage.get() % 3];
            let mut start = self.index * grain;
            while start < count {
                work(start..(start + grain).min(count));
                start = self.size * grain + next.fetch_add(grain, Ordering::Relaxed);
            }
        }
        self.barrier()
    }
}
