//! The compute gang: every item once, calling off, panics, turns.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use viva_tensor_engine::{
    backend::cpu::gang::{CalledOff, gang},
    error::Error,
};

#[test]
fn every_item_of_every_stage_is_done_once_before_the_next_stage_begins() {
    for threads in [1, 2, 3, 7] {
        for count in [1, 5, 64, 1000] {
            let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
            let stages = 50;
            gang()
                .run(threads, &|| true, &|member| {
                    for stage in 0..stages {
                        member.share(count, 1 + stage % 9, |range| {
                            for item in range {
                                // The stage before is complete for every item, whoever did it.
                                let other = (item * 31 + stage) % count;
                                assert!(done[other].load(Ordering::Relaxed) >= stage);
                                done[item].fetch_add(1, Ordering::Relaxed);
                            }
                        })?;
                    }
                    Ok(())
                })
                .unwrap();
            assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == stages), "{threads} threads, {count} items");
        }
    }
}

#[test]
fn a_job_whose_caller_died_is_called_off_and_the_next_one_runs() {
    let start = Instant::now();
    let endless = gang().run(2, &|| start.elapsed() < Duration::from_millis(20), &|member| {
        loop {
            member.share(10, 1, |_| thread::sleep(Duration::from_micros(100)))?;
        }
    });
    assert_eq!(endless, Err(Error::Cancelled));
    assert!(start.elapsed() < Duration::from_millis(70), "{:?}", start.elapsed());
    assert_eq!(gang().run(2, &|| true, &|member| member.barrier()), Ok(()));
}

#[test]
fn a_panic_in_one_member_ends_the_job_with_an_error_and_leaves_the_gang_alive() {
    let result = gang().run(3, &|| true, &|member| {
        assert!(member.index != 1, "on purpose");
        member.barrier()
    });
    assert!(matches!(result, Err(Error::Internal { .. })), "{result:?}");
    let all = AtomicUsize::new(0);
    let counted = gang().run(3, &|| true, &|member| {
        all.fetch_add(1, Ordering::Relaxed);
        member.barrier()
    });
    assert_eq!((counted, all.load(Ordering::Relaxed)), (Ok(()), 3));
}

#[test]
fn callers_take_turns() {
    let (turns, stop) = (Arc::new(Mutex::new(vec![])), Arc::new(AtomicBool::new(false)));
    let caller = |name: usize| {
        let (turns, stop) = (Arc::clone(&turns), Arc::clone(&stop));
        thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let work = |member: &viva_tensor_engine::backend::cpu::gang::Member| -> Result<(), CalledOff> {
                    member.share(2, 1, |_| thread::sleep(Duration::from_micros(500)))
                };
                gang().run(2, &|| true, &work).unwrap();
                turns.lock().unwrap().push(name);
            }
        })
    };
    let callers: Vec<_> = (0..3).map(caller).collect();
    thread::sleep(Duration::from_millis(400));
    stop.store(true, Ordering::Relaxed);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    let turns = turns.lock().unwrap();
    for name in 0..3 {
        let share = turns.iter().filter(|turn| **turn == name).count() as f64 / turns.len() as f64;
        assert!((0.2..0.47).contains(&share), "caller {name} had {share:.2} of {} turns", turns.len());
    }
}
