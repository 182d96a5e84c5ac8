use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use super::shares::{HELPERS_AT, OPEN, epoch, is_open_to};
use super::*;

/// Alone, a worker, as many as cores or more, and far too many.
const POOLS: [usize; 5] = [0, 1, 2, 3, 9];

#[test]
fn every_part_runs_once() {
    for threads in POOLS {
        let pool = ThreadPool::new(threads);
        assert_eq!(pool.threads(), threads.max(1));
        for round in 0..200 {
            let parts = round % 17;
            let counts: Vec<_> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
            pool.all().run(parts, &|part| {
                counts[part].fetch_add(1, SeqCst);
            });
            assert!(counts.iter().all(|c| c.load(SeqCst) == 1), "{threads} threads, {parts} parts");
        }
    }
}

#[test]
fn sleeping_workers_wake_up() {
    let pool = ThreadPool::new(3);
    let both = std::sync::Barrier::new(2);
    for _ in 0..3 {
        thread::sleep(Duration::from_millis(5));
        // Neither part can end before the other has begun: a second thread must have come.
        pool.all().run(2, &|_| {
            both.wait();
        });
    }
}

#[test]
fn shares_are_taken_in_order_and_then_from_the_ends_of_others() {
    let pool = ThreadPool::new(2);
    for _ in 0..20 {
        let done = Mutex::new(Vec::new());
        let others_are_done = || done.lock().unwrap().len() == 7;
        pool.all().run(8, &|part| {
            // The first of the caller's share ends when all others have: the worker must do them.
            while part == 0 && !others_are_done() {
                thread::yield_now();
            }
            done.lock().unwrap().push(part);
        });
        assert_eq!(done.into_inner().unwrap(), [4, 5, 6, 7, 3, 2, 1, 0]);
    }
}

#[test]
fn a_forward_pass_has_the_threads_for_its_rows() {
    let ids = |team: &Team<'_>, parts| {
        let ids = Mutex::new(HashSet::new());
        team.run(parts, &|_| {
            ids.lock().unwrap().insert(thread::current().id());
        });
        ids.into_inner().unwrap()
    };
    let here = thread::current().id();
    for (decode, prefill) in [(1, 3), (2, 4), (3, 2)] {
        let pool = ThreadPool::new(Threads { decode, prefill });
        assert_eq!(pool.threads(), decode.max(prefill));
        let (few, many) = (pool.team(PREFILL_ROWS - 1), pool.team(PREFILL_ROWS));
        assert_eq!((few.threads(), many.threads(), pool.all().threads()), (decode, prefill, pool.threads()));
        for (team, threads) in [(&few, decode), (&many, prefill)] {
            // So many threads do come: no part ends before all have begun. Later jobs have no others, although all
            // workers of the pool look for jobs.
            let all = std::sync::Barrier::new(threads);
            let members = Mutex::new(HashSet::from([here]));
            team.run(threads, &|_| {
                members.lock().unwrap().insert(thread::current().id());
                all.wait();
            });
            let members = members.into_inner().unwrap();
            assert_eq!(members.len(), threads);
            for _ in 0..100 {
                ids(&pool.all(), 20);
                assert!(ids(team, 20).is_subset(&members), "{threads} of {} threads", pool.threads());
            }
        }
    }
}

#[test]
fn a_job_is_open_once_to_the_workers_of_its_team() {
    let job = 7 << 32 | OPEN | 2 << HELPERS_AT;
    for inside in [0, 1, 2] {
        let open = |index, seen| is_open_to(index, job + inside, seen);
        assert!(open(0, 6) && open(1, 6) && !open(2, 6) && !open(MOST_WORKERS, 6));
        assert!(!open(0, 7), "a job that it has seen");
        assert!(!is_open_to(0, (job + inside) & !OPEN, 6), "a job that is closed");
    }
    let most = 7 << 32 | OPEN | (MOST_WORKERS as u64) << HELPERS_AT;
    assert!(is_open_to(MOST_WORKERS - 1, most, 6) && epoch(most) == 7);
}

#[test]
fn nested_and_concurrent_jobs_do_not_deadlock() {
    let pool = ThreadPool::new(3);
    let count = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    pool.all().run(5, &|_| {
                        pool.all().run(3, &|_| {
                            count.fetch_add(1, SeqCst);
                        })
                    });
                }
            });
        }
    });
    assert_eq!(count.into_inner(), 4 * 50 * 5 * 3);
}

#[test]
fn a_panic_arrives_after_the_other_parts() {
    for threads in POOLS.into_iter().filter(|&threads| threads > 1) {
        let pool = ThreadPool::new(threads);
        let done = AtomicUsize::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            pool.all().run(20, &|part| {
                assert!(part != 3, "part three");
                done.fetch_add(1, SeqCst);
            });
        }));
        let payload = result.expect_err("part 3 panicked");
        assert_eq!(payload.downcast_ref::<&str>(), Some(&"part three"));
        assert_eq!(done.load(SeqCst), 19);
        pool.all().run(4, &|_| {
            done.fetch_add(1, SeqCst);
        });
        assert_eq!(done.load(SeqCst), 23, "the pool works on");
    }
}

#[test]
fn columns_cover_each_matrix_once() {
    for threads in POOLS {
        let pool = ThreadPool::new(threads);
        for (rows, strides) in [(1, [1, 40]), (3, [15, 1]), (2, [16, 16]), (5, [17, 100]), (4, [1000, 7])] {
            let mut matrices = strides.map(|stride| vec![0.0; rows * stride]);
            let [a, b] = &mut matrices;
            pool.all().columns([(a, strides[0]), (b, strides[1])], 16, &|index, mut view| {
                let (columns, stride) = (view.columns(), strides[index]);
                assert!(columns.start % 16 == 0 && (columns.end % 16 == 0 || columns.end == stride));
                for row in 0..view.rows() {
                    for (column, value) in columns.clone().zip(view.row_mut(row)) {
                        *value += (row * stride + column) as f32 + 1.0;
                    }
                }
            });
            for matrix in &matrices {
                assert!(matrix.iter().enumerate().all(|(i, &v)| v == i as f32 + 1.0));
            }
            let [a, _] = &mut matrices;
            let mut other = a.clone();
            pool.all().columns_of_both([a, &mut other], strides[0], 16, &|mut a, mut b| {
                assert_eq!(a.columns(), b.columns());
                for row in 0..rows {
                    a.row_mut(row).iter_mut().zip(b.row_mut(row)).for_each(|(a, b)| (*a, *b) = (*a + *b, 0.0));
                }
            });
            assert!(a.iter().enumerate().all(|(i, &v)| v == 2.0 * (i as f32 + 1.0)));
            assert!(other.iter().all(|&v| v == 0.0));
        }
    }
}

#[test]
fn rows_of_three_matrices_are_split_together() {
    for threads in POOLS {
        let pool = ThreadPool::new(threads);
        for rows in [1, 3, 100] {
            let (mut a, mut b, mut c) = (vec![0i8; rows * 7], vec![0.0; rows], vec![0; rows * 2]);
            pool.all().rows_of_three(rows, (&mut a, &mut b, &mut c), &|range, a, b, c| {
                assert_eq!((a.len(), b.len(), c.len()), (range.len() * 7, range.len(), range.len() * 2));
                a.iter_mut().for_each(|v| *v += 1);
                b.iter_mut().for_each(|v| *v += 1.0);
                c.iter_mut().for_each(|v| *v += 1);
            });
            assert!(a.iter().all(|&v| v == 1) && b.iter().all(|&v| v == 1.0) && c.iter().all(|&v| v == 1));
        }
    }
}

#[test]
fn rows_cover_the_matrix_once() {
    for threads in POOLS {
        let pool = ThreadPool::new(threads);
        for (rows, stride) in [(0, 3), (1, 1), (3, 15), (100, 7)] {
            let mut matrix = vec![0.0; rows * stride];
            pool.all().rows(&mut matrix, stride, &|range, values| {
                assert_eq!(values.len(), range.len() * stride);
                for (i, value) in (range.start * stride..).zip(values) {
                    *value += i as f32 + 1.0;
                }
            });
            assert!(matrix.iter().enumerate().all(|(i, &v)| v == i as f32 + 1.0));
        }
    }
}
