use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// For tests that do not depend on time: nothing is slow.
const NOW: Duration = Duration::ZERO;

const LIMITS: Limits = Limits {
    piece: 4,
    shortest: 1,
    connections: 2,
    files: 3,
    window: 16,
    far_window: 32,
    memory: 8,
    is_capped: false,
};

fn blocks(piece: Option<Piece>) -> Option<(FileNumber, Range<u64>)> {
    piece.map(|piece| (piece.file, piece.blocks))
}

/// Delivers a piece of file 1 completely.
fn deliver(schedule: &mut Schedule, piece: &Piece, now: Duration) {
    for block in piece.blocks.clone() {
        schedule.claim(piece, block);
        schedule.written(1, block);
    }
    schedule.ended(piece, now);
}

#[test]
fn files_share_the_connections() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 10, [], 0);
    schedule.add(2, vec![0], 3, [], 0);
    let order: Vec<_> = std::iter::from_fn(|| blocks(schedule.next(0, NOW))).collect();
    assert_eq!(order, [(1, 0..4), (2, 0..3), (1, 4..8), (1, 8..10)]);
}

#[test]
fn nothing_beyond_the_window_is_requested_until_the_hash_advances() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 100, [], 0);
    let first: Vec<_> = std::iter::from_fn(|| blocks(schedule.next(0, NOW))).collect();
    assert_eq!(first.last(), Some(&(1, 12..16)));
    schedule.hashed(1, 2, Duration::ZERO, NOW);
    assert_eq!(blocks(schedule.next(0, NOW)), Some((1, 16..18)));
}

#[test]
fn a_source_faster_than_the_hash_may_run_ahead_only_as_far_as_memory_holds() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 100, [], 0);
    assert_eq!(blocks(schedule.next(0, NOW)), Some((1, 0..4)));
    schedule.written(1, 0);
    assert_eq!(blocks(schedule.next(0, NOW)), Some((1, 4..8)));
    assert_eq!(blocks(schedule.next(0, NOW)), None, "the hash is behind");
    schedule.hashed(1, 1, Duration::ZERO, NOW);
    assert_eq!(blocks(schedule.next(0, NOW)), Some((1, 8..12)), "the source is behind");
}

#[test]
fn the_next_file_is_requested_once_all_of_the_previous_one_is() {
    let mut schedule = Schedule::new(Limits { files: 1, ..LIMITS });
    for (file, blocks) in [(1, 6), (2, 4), (3, 1)] {
        schedule.add(file, vec![0], blocks, [], 0);
    }
    let order: Vec<_> = std::iter::from_fn(|| blocks(schedule.next(0, NOW))).collect();
    let expected = [(1, 0..4), (3, 0..1), (1, 4..6), (2, 0..4)];
    assert_eq!(order, expected, "a file of one block waits for no other");
    assert_eq!(schedule.arriving_files(), 2);
}

#[test]
fn an_origin_serves_the_first_files_that_it_offers() {
    let mut schedule = Schedule::new(Limits { files: 1, ..LIMITS });
    schedule.add(1, vec![0], 6, [], 0);
    schedule.add(2, vec![0, 1], 6, [], 0);
    assert_eq!(blocks(schedule.next(1, NOW)), Some((2, 0..4)));
    assert_eq!(blocks(schedule.next(0, NOW)), Some((1, 0..4)));
}

#[test]
fn files_of_one_block_get_no_share_of_the_memory() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 100, [], 0);
    for small in 2..6 {
        schedule.add(small, vec![0], 1, [], 0);
    }
    schedule.written(1, 0);
    let order: Vec<_> = std::iter::from_fn(|| blocks(schedule.next(0, NOW))).collect();
    let of_the_large_one: Vec<_> = order.into_iter().filter(|(file, _)| *file == 1).collect();
    assert_eq!(of_the_large_one, [(1, 1..4), (1, 4..8)]);
}

/// A file of two origins. Origin 0 delivered a piece in a second, origin 1 nothing in three.
fn fast_and_slow(blocks: u64) -> Schedule {
    let mut schedule = Schedule::new(Limits { window: 100, ..LIMITS });
    schedule.add(1, vec![0, 1], blocks, [], 0);
    let (fast, slow) = (schedule.next(0, NOW).unwrap(), schedule.next(1, NOW).unwrap());
    assert_eq!((fast.blocks.clone(), slow.blocks.clone()), (0..4, 4..8));
    for block in fast.blocks.clone() {
        schedule.claim(&fast, block);
    }
    schedule.ended(&fast, Duration::from_secs(1));
    // Ended without a block.
    schedule.ended(&slow, Duration::from_secs(3));
    schedule
}

#[test]
fn a_slow_origin_gets_few_blocks_that_the_hash_reaches_last() {
    let mut schedule = fast_and_slow(200);
    let now = Duration::from_secs(3);
    assert_eq!(blocks(schedule.next(1, now)), Some((1, 99..100)));
    assert_eq!(blocks(schedule.next(0, now)), Some((1, 4..8)));
    assert_eq!(blocks(schedule.next(1, now)), Some((1, 98..99)));
}

#[test]
fn a_slow_origin_gets_no_block_that_others_deliver_sooner() {
    let mut schedule = fast_and_slow(20);
    let now = Duration::from_secs(3);
    // One block takes the slow origin six seconds; all sixteen take the fast one four.
    let fast = schedule.next(0, now).unwrap();
    assert_eq!(blocks(schedule.next(1, now)), None);
    schedule.ended(&fast, now);
    assert_eq!(
        blocks(schedule.next(1, now)),
        Some((1, 19..20)),
        "no other has a piece in flight"
    );
}

#[test]
fn the_last_pieces_get_shorter_the_less_is_missing() {
    let mut schedule = Schedule::new(Limits { window: 100, ..LIMITS });
    schedule.add(1, vec![0], 24, [], 0);
    assert_eq!(blocks(schedule.next(0, NOW)), Some((1, 0..4)));
    schedule.set_all_files_added();
    let lengths: Vec<_> = std::iter::from_fn(|| schedule.next(0, NOW))
        .map(|piece| piece.blocks.end - piece.blocks.start)
        .collect();
    assert_eq!(lengths.iter().sum::<u64>(), 20);
    assert_eq!(lengths.first(), Some(&4));
    assert!(lengths.is_sorted_by(|one, next| one >= next), "{lengths:?}");
    assert_eq!(lengths.last(), Some(&1));
}

#[test]
fn blocks_on_disk_are_skipped() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 10, [0, 1, 6], 2);
    let order: Vec<_> = std::iter::from_fn(|| blocks(schedule.next(0, NOW))).collect();
    assert_eq!(order, [(1, 2..4), (1, 4..6), (1, 7..8), (1, 8..10)]);
}

#[test]
fn a_piece_that_ended_early_is_requested_again_from_where_it_ended() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 4, [], 0);
    let piece = schedule.next(0, NOW).unwrap();
    schedule.written(1, 0);
    schedule.ended(&piece, NOW);
    assert_eq!(blocks(schedule.next(0, NOW)), Some((1, 1..4)));
}

#[test]
fn a_file_read_in_sequence_has_one_request_that_runs_to_the_next_block_on_disk() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 100, [70], 0);
    let refused = schedule.next(0, NOW).unwrap();
    assert!(schedule.ignores_ranges(1, 0));
    assert_eq!(schedule.next(0, NOW), None);
    schedule.ended(&refused, NOW);
    let piece = schedule.next(0, NOW).unwrap();
    assert_eq!((piece.file, piece.blocks, piece.sequential), (1, 0..70, true));
    assert_eq!(schedule.next(0, NOW), None);
}

#[test]
fn an_origin_that_ignores_ranges_is_read_in_one_stream_when_no_other_is_left() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0, 1, 2], 40, [], 0);
    assert!(!schedule.ignores_ranges(1, 1), "there are others");
    assert!(!schedule.ignores_ranges(1, 2));
    assert_eq!(schedule.next(1, NOW), None);
    assert!(schedule.withdraw(1, 2), "it is dropped for another reason");
    assert!(schedule.withdraw(1, 0));
    assert_eq!(blocks(schedule.next(1, NOW)), Some((1, 0..40)));
    assert_eq!(schedule.next(1, NOW), None, "one request at a time");
    assert!(!schedule.withdraw(1, 1), "now none is left");
}

#[test]
fn late_bytes_of_a_removed_file_are_ignored() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 4, [], 0);
    let piece = schedule.next(0, NOW).unwrap();
    schedule.remove(1);
    schedule.written(1, 0);
    schedule.ended(&piece, NOW);
    assert_eq!(schedule.next(0, NOW), None);
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn an_idle_connection_steals_what_it_delivers_sooner() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 8, [], 0);
    let slow = schedule.next(0, NOW).unwrap();
    let quick = schedule.next(0, NOW).unwrap();
    for block in quick.blocks.clone() {
        assert!(schedule.claim(&quick, block).is_first);
        schedule.written(1, block);
    }
    schedule.ended(&quick, SECOND);
    assert!(schedule.claim(&slow, 0).is_first);
    schedule.written(1, 0);
    let stolen = schedule.next(0, SECOND * 2).unwrap();
    assert_eq!(stolen.blocks, 2..4);
    assert_eq!(schedule.claim(&slow, 1), Claim { is_first: true, end: 2 });
}

#[test]
fn nothing_is_stolen_if_all_are_equally_slow() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 8, [], 0);
    let (one, other) = (schedule.next(0, NOW).unwrap(), schedule.next(0, NOW).unwrap());
    deliver(&mut schedule, &other, SECOND * 40);
    schedule.claim(&one, 0);
    schedule.claim(&one, 1);
    assert_eq!(schedule.next(0, SECOND * 40), None);
}

#[test]
fn under_a_bandwidth_cap_only_a_stuck_piece_is_stolen_from() {
    for (after, stolen) in [(4, None), (40, Some(2..4))] {
        let mut schedule = Schedule::new(Limits {
            is_capped: true,
            ..LIMITS
        });
        schedule.add(1, vec![0], 8, [], 0);
        let (slow, quick) = (schedule.next(0, NOW).unwrap(), schedule.next(0, NOW).unwrap());
        assert_eq!(schedule.next(0, SECOND * 9), None, "nothing is known yet");
        for block in quick.blocks.clone() {
            schedule.claim(&quick, block);
            schedule.written(1, block);
        }
        schedule.ended(&quick, SECOND);
        schedule.claim(&slow, 0);
        let next = schedule.next(0, SECOND * after).map(|piece| piece.blocks);
        assert_eq!(next, stolen, "after {after} s");
    }
}

#[test]
fn the_last_block_of_a_stuck_connection_is_requested_twice_and_the_first_response_wins() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 1, [], 0);
    let stuck = schedule.next(0, NOW).unwrap();
    assert_eq!(schedule.next(0, SECOND / 10), None, "it may still arrive");
    schedule.paces.set(0, 4.0);
    let second = schedule.next(0, SECOND * 2).unwrap();
    assert_eq!(second.blocks, 0..1);
    assert_eq!(schedule.next(0, SECOND * 9), None, "two requests are enough");
    assert!(schedule.claim(&second, 0).is_first);
    assert_eq!(schedule.duplicate_of(&second, 0), Some(stuck.number));
    assert!(!schedule.claim(&stuck, 0).is_first);
}

#[test]
fn a_block_requested_twice_is_missing_only_after_both_requests_ended() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0, 1], 1, [], 0);
    schedule.paces.set(1, 4.0);
    let stuck = schedule.next(0, NOW).unwrap();
    let second = schedule.next(1, SECOND * 2).unwrap();
    schedule.ended(&stuck, SECOND * 2);
    assert_eq!(schedule.next_missing(0), None);
    schedule.ended(&second, SECOND * 3);
    assert_eq!(schedule.next_missing(0), Some((1, 0..1)));
}

#[test]
fn an_origin_serves_only_files_that_it_offers() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 4, [], 0);
    schedule.add(2, vec![0, 1], 4, [], 0);
    assert_eq!(blocks(schedule.next(1, NOW)), Some((2, 0..4)));
    assert_eq!(
        [0, 1, 2].map(|origin| schedule.demand(origin)),
        [(true, true), (true, false), (false, false)]
    );
    assert!(schedule.withdraw(2, 0));
    assert!(!schedule.withdraw(2, 1), "no origin offers it any more");
}

#[derive(Clone, Debug)]
enum Step {
    Ask,
    /// Ends the oldest piece in flight after all of it was written.
    EndFirst,
    /// Ends one of the pieces in flight after this share of it was written.
    End(prop::sample::Index, f64),
    Hash,
    Sequence,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Ask),
        4 => (any::<prop::sample::Index>(), 0.0..=1.0).prop_map(|(which, share)| Step::End(which, share)),
        2 => Just(Step::Hash),
        1 => Just(Step::Sequence),
    ]
}

proptest! {
    #[test]
    fn no_block_is_requested_twice_and_every_file_is_completed(
        sizes in proptest::collection::vec((1_u64..60, proptest::collection::btree_set(0_u64..60, 0..20)), 1..4),
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let mut schedule = Schedule::new(LIMITS);
        let mut missing: BTreeSet<(u64, u64)> = BTreeSet::new();
        for (file, (size, written)) in (0..).zip(&sizes) {
            schedule.add(file, vec![0], *size, written.iter().copied(), 0);
            missing.extend((0..*size).filter(|block| !written.contains(block)).map(|block| (file, block)));
        }
        let mut in_flight: Vec<Piece> = Vec::new();
        let frontier = |missing: &BTreeSet<(u64, u64)>, in_flight: &[Piece], file: u64| {
            let first = missing.range((file, 0)..(file + 1, 0)).next().map_or(sizes[usize::try_from(file).unwrap()].0, |(_, b)| *b);
            let asked = in_flight.iter().filter(|p| p.file == file).map(|p| p.blocks.start).min();
            first.min(asked.unwrap_or(u64::MAX))
        };
        // Enough steps afterwards to complete the rest.
        let tail = (0..2000).flat_map(|_| [Step::Ask, Step::EndFirst, Step::Hash]);
        for step in steps.into_iter().chain(tail) {
            match step {
                Step::Ask => if let Some(piece) = schedule.next(0, NOW) {
                    prop_assert!(!piece.blocks.is_empty());
                    for block in piece.blocks.clone() {
                        prop_assert!(missing.remove(&(piece.file, block)), "{:?} is not missing", block);
                    }
                    in_flight.push(piece);
                },
                Step::End(which, share) => if !in_flight.is_empty() {
                    let piece = in_flight.swap_remove(which.index(in_flight.len()));
                    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
                    let written = ((piece.blocks.end - piece.blocks.start) as f64 * share) as u64;
                    for block in piece.blocks.clone() {
                        if block < piece.blocks.start + written {
                            schedule.written(piece.file, block);
                        } else {
                            missing.insert((piece.file, block));
                        }
                    }
                    schedule.ended(&piece, NOW);
                },
                Step::EndFirst => if !in_flight.is_empty() {
                    let piece = in_flight.remove(0);
                    for block in piece.blocks.clone() {
                        schedule.written(piece.file, block);
                    }
                    schedule.ended(&piece, NOW);
                },
                Step::Hash => for file in 0..sizes.len() as u64 {
                    schedule.hashed(file, frontier(&missing, &in_flight, file), Duration::ZERO, NOW);
                },
                Step::Sequence => {
                    schedule.ignores_ranges(0, 0);
                }
            }
        }
        prop_assert!(missing.is_empty() && in_flight.is_empty());
    }

    #[test]
    fn however_connections_steal_from_each_other_each_block_is_written_exactly_once(
        blocks in 1_u64..40,
        // Seconds that a connection takes for a block; one may be stuck forever.
        speeds in proptest::collection::vec(1_u32..60, 2..6),
        is_one_stuck in any::<bool>(),
    ) {
        let mut schedule = Schedule::new(LIMITS);
        schedule.add(1, vec![0], blocks, [], 0);
        let mut written = BTreeSet::new();
        let mut connections: Vec<Option<(Piece, u64, u32)>> = vec![None; speeds.len()];
        let mut second = 0;
        while u64::try_from(written.len()).unwrap() < blocks {
            second += 1;
            prop_assert!(second < 100_000, "it never ends");
            let now = SECOND * second;
            for (number, (connection, speed)) in connections.iter_mut().zip(&speeds).enumerate() {
                let Some((piece, next, since)) = connection.take() else {
                    *connection = schedule.next(0, now).map(|piece| (piece.clone(), piece.blocks.start, second));
                    continue;
                };
                if (is_one_stuck && number == 0) || second - since < *speed {
                    *connection = Some((piece, next, since));
                    continue;
                }
                let claim = schedule.claim(&piece, next);
                prop_assert_eq!(claim.is_first, written.insert(next));
                if claim.is_first {
                    schedule.written(1, next);
                    let frontier = (0..blocks).find(|block| !written.contains(block)).unwrap_or(blocks);
                    schedule.hashed(1, frontier, Duration::ZERO, NOW);
                }
                if next + 1 < claim.end {
                    *connection = Some((piece, next + 1, second));
                } else {
                    schedule.ended(&piece, now);
                }
            }
        }
    }
}

/// A file whose hash was always busy and now waits for a block.
fn waited_for(paces: [(OriginNumber, f64); 2]) -> Schedule {
    const STEPS: u64 = 500;
    let mut schedule = Schedule::new(LIMITS);
    schedule.set_pieces(4, 1, Distance::Near);
    for (origin, pace) in paces {
        schedule.paces.set(origin, pace);
    }
    schedule.add(1, vec![0, 1], 1000, 0..STEPS, 0);
    let took = Duration::from_millis(1);
    for step in 1..=STEPS {
        schedule.hashed(1, step, took, took * u32::try_from(step).unwrap());
    }
    schedule
}

#[test]
fn a_near_and_fast_source_may_run_ahead_only_as_far_as_memory_holds() {
    let mut schedule = waited_for([(0, 100.0), (1, 90.0)]);
    let pieces = std::iter::from_fn(|| blocks(schedule.next(0, NOW))).count();
    assert_eq!(pieces as u64 * LIMITS.piece, LIMITS.memory);
}

#[test]
fn with_a_slow_origin_near_and_fast_ones_may_use_the_whole_window() {
    let mut schedule = waited_for([(0, 100.0), (1, 1.0)]);
    let pieces = std::iter::from_fn(|| blocks(schedule.next(0, NOW))).count();
    assert_eq!(pieces as u64 * LIMITS.piece, LIMITS.window);
}

#[test]
fn a_piece_of_a_far_source_ends_at_a_multiple_of_its_length_even_beyond_the_window() {
    for (distance, expected) in [(Distance::Near, 30..32), (Distance::Far, 30..36)] {
        let limits = Limits { window: 32, ..LIMITS };
        let mut schedule = Schedule::new(limits);
        schedule.set_pieces(6, 1, distance);
        schedule.add(1, vec![0], 100, 0..30, 0);
        schedule.hashed(1, 0, Duration::ZERO, NOW);
        // The hash waits for block 0, although it was written: as if it had been damaged.
        schedule.files.get_mut(&1).unwrap().set(0, Block::InFlight);
        assert_eq!(blocks(schedule.next(0, NOW)), Some((1, expected)), "{distance:?}");
    }
}

#[test]
fn the_last_pieces_of_a_far_source_are_worth_the_wait_for_their_first_byte() {
    for (distance, expected) in [(Distance::Near, 0..2), (Distance::Far, 0..4)] {
        let mut schedule = Schedule::new(LIMITS);
        schedule.set_pieces(8, if distance == Distance::Far { 4 } else { 1 }, distance);
        schedule.set_all_files_added();
        schedule.add(1, vec![0], 8, [], 0);
        assert_eq!(blocks(schedule.next(0, NOW)), Some((1, expected)), "{distance:?}");
    }
}

#[test]
fn nothing_is_stolen_while_the_hash_is_behind() {
    let mut schedule = Schedule::new(LIMITS);
    schedule.add(1, vec![0], 100, [], 0);
    let (whole, stuck) = (schedule.next(0, NOW).unwrap(), schedule.next(0, NOW).unwrap());
    deliver(&mut schedule, &whole, SECOND);
    assert_eq!((whole.blocks, stuck.blocks), (0..4, 4..8));
    // Other pieces fill the window.
    schedule.limits.window = 4;
    let later = SECOND * 60;
    assert_eq!(
        blocks(schedule.next(0, later)),
        None,
        "the hash is at block 0, which is on disk"
    );
    schedule.hashed(1, 4, Duration::ZERO, later);
    assert_eq!(
        blocks(schedule.next(0, later)),
        Some((1, 5..8)),
        "the hash waits for the slow piece"
    );
}

#[test]
fn no_more_blocks_are_sent_twice_than_the_budget_allows_however_slow_pieces_are() {
    const CONNECTIONS: u64 = 8;
    let mut schedule = Schedule::new(Limits {
        connections: CONNECTIONS,
        window: 1000,
        ..LIMITS
    });
    schedule.add(1, vec![0], 64, [], 0);
    let mut pieces: Vec<_> = std::iter::from_fn(|| schedule.next(0, NOW)).collect();
    // Each has delivered one block of four, and then nothing for a long time.
    for piece in &pieces {
        schedule.claim(piece, piece.blocks.start);
        schedule.written(1, piece.blocks.start);
    }
    schedule.hashed(1, 1, Duration::ZERO, NOW);
    schedule.paces.set(0, 4.0);
    let mut lost = 0;
    let mut later = SECOND * 60;
    while let Some(piece) = schedule.next(0, later) {
        lost += piece.blocks.end - piece.blocks.start;
        pieces.push(piece);
        later += SECOND;
    }
    assert!(
        (CONNECTIONS - 4..=CONNECTIONS).contains(&lost),
        "{lost} blocks were stolen or requested twice"
    );
}
