use proptest::prelude::*;

use super::*;

fn key() -> Key {
    Key {
        digest: ContentDigest::Sha256([7; 32]),
        size: 1 << 20,
        block_bytes: 4096,
    }
}

fn written(blocks: &[(u64, u32)], checkpoint: Option<&Checkpoint>) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut journal, recovered) = Journal::open(&path, key()).unwrap();
    assert_eq!(recovered, Recovered::NOTHING);
    for block in blocks {
        journal.append(&[*block], None).unwrap();
    }
    journal.append(&[], checkpoint).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn what_was_noted_is_read_back() {
    let checkpoint = Checkpoint {
        blocks: 2,
        state: vec![9; 104],
    };
    let bytes = written(&[(1, 11), (0, 10), (40, 12)], Some(&checkpoint));
    let (recovered, sound) = replay(&bytes, key()).unwrap();
    assert_eq!(recovered.blocks, BTreeMap::from([(0, 10), (1, 11), (40, 12)]));
    assert_eq!(recovered.checkpoint, Some(checkpoint));
    assert_eq!(sound, bytes.len());
}

#[test]
fn the_journal_of_other_content_or_other_blocks_says_nothing() {
    let bytes = written(&[(0, 10)], None);
    assert!(
        replay(
            &bytes,
            Key {
                digest: ContentDigest::Sha256([8; 32]),
                ..key()
            }
        )
        .is_none()
    );
    assert!(replay(&bytes, Key { size: 5, ..key() }).is_none());
    assert!(
        replay(
            &bytes,
            Key {
                block_bytes: 8192,
                ..key()
            }
        )
        .is_none()
    );
}

#[test]
fn a_checkpoint_over_a_block_that_is_not_durable_is_not_believed() {
    let bytes = written(
        &[(0, 10), (2, 12)],
        Some(&Checkpoint {
            blocks: 3,
            state: vec![9; 104],
        }),
    );
    assert_eq!(replay(&bytes, key()).unwrap().0.checkpoint, None);
}

#[test]
fn a_checkpoint_is_forgotten_when_a_block_it_has_seen_is_written_otherwise() {
    let checkpoint = Checkpoint {
        blocks: 3,
        state: vec![9; 104],
    };
    let rewritten = |block| {
        let mut bytes = written(&[(0, 10), (1, 11), (2, 12), (3, 13)], Some(&checkpoint));
        push_record(&mut bytes, BLOCK, &block_payload(block, 99));
        bytes
    };
    let recovered = |bytes: &[u8]| replay(bytes, key()).unwrap().0.checkpoint;
    assert_eq!(recovered(&rewritten(1)), None);
    assert_eq!(
        recovered(&rewritten(3)),
        Some(checkpoint.clone()),
        "the checkpoint does not cover block 3"
    );

    let mut bytes = rewritten(1);
    let mut payload = 3_u64.to_le_bytes().to_vec();
    payload.extend_from_slice(&checkpoint.state);
    push_record(&mut bytes, CHECKPOINT, &payload);
    assert_eq!(
        recovered(&bytes),
        Some(checkpoint.clone()),
        "a later checkpoint covers the new block"
    );

    let mut same = written(&[(0, 10), (1, 11), (2, 12)], Some(&checkpoint));
    push_record(&mut same, BLOCK, &block_payload(1, 11));
    assert_eq!(recovered(&same), Some(checkpoint.clone()), "nothing changed");
}

#[test]
fn the_last_start_that_was_noted_counts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let reopened = || Journal::open(&path, key()).unwrap();
    assert_eq!(reopened().1.boot, Boot::UNKNOWN);
    reopened().0.begin(&Boot::named("one")).unwrap();
    reopened().0.append(&[(0, 10)], None).unwrap();
    assert_eq!(reopened().1.boot, Boot::named("one"));
    reopened().0.begin(&Boot::named("two")).unwrap();
    assert_eq!(reopened().1.boot, Boot::named("two"));
    reopened().0.begin(&Boot::UNKNOWN).unwrap();
    assert_eq!(reopened().1.boot, Boot::UNKNOWN);
    assert_eq!(reopened().1.blocks, BTreeMap::from([(0, 10)]));
}

#[test]
fn records_appended_after_a_torn_tail_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let mut bytes = written(&[(0, 10), (1, 11)], None);
    bytes.truncate(bytes.len() - 3);
    std::fs::write(&path, bytes).unwrap();
    let (mut journal, recovered) = Journal::open(&path, key()).unwrap();
    assert_eq!(recovered.blocks, BTreeMap::from([(0, 10)]));
    journal.append(&[(5, 15)], None).unwrap();
    let (_, recovered) = Journal::open(&path, key()).unwrap();
    assert_eq!(recovered.blocks, BTreeMap::from([(0, 10), (5, 15)]));
}

proptest! {
    #[test]
    fn damage_never_makes_a_block_durable_that_was_not_recorded(
        blocks in proptest::collection::vec((0_u64..256, any::<u32>()), 0..40),
        cut in 0.0..1.0, flip in proptest::option::of((0.0..1.0, 0_u8..8)),
    ) {
        // As `append` writes it, but in memory: syncs would take most of the time.
        let mut bytes = Vec::new();
        push_record(&mut bytes, KEY, &key().to_payload());
        for (block, checksum) in &blocks {
            push_record(&mut bytes, BLOCK, &block_payload(*block, *checksum));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a fraction of a length")]
        let at = |fraction: f64, length: usize| (length as f64 * fraction) as usize;
        bytes.truncate(at(cut, bytes.len() + 1));
        if let Some((place, bit)) = flip && !bytes.is_empty() {
            let place = at(place, bytes.len());
            bytes[place] ^= 1 << bit;
        }
        if let Some((recovered, sound)) = replay(&bytes, key()) {
            prop_assert!(sound <= bytes.len());
            let whole: Vec<_> = blocks.iter().copied().scan(BTreeMap::new(), |seen, (block, crc)| {
                seen.insert(block, crc);
                Some(seen.clone())
            }).collect();
            // The recovered blocks are those of some prefix of the records.
            prop_assert!(recovered.blocks.is_empty() || whole.contains(&recovered.blocks));
        }
    }
}
