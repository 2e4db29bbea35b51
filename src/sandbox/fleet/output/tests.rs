//! What any number of viewers see of output that is longer than memory, than the spool, or that the disk has lost.

use super::*;
use std::path::Path;

const MIB: usize = 1 << 20;

fn spool(dir: &Path, limit: usize) -> Arc<Spool> {
    Arc::new(Spool::new(dir.join("output"), limit as u64, 0))
}

fn chunk(length: usize, byte: u8) -> Bytes {
    vec![byte; length].into()
}

fn exited(code: i32) -> ExitStatus {
    ExitStatus { code: Some(code), ..ExitStatus::default() }
}

fn on_disk(dir: &Path) -> u64 {
    let Ok(files) = std::fs::read_dir(dir.join("output")) else { return 0 };
    files.map(|file| file.unwrap().metadata().unwrap().len()).sum()
}

/// Numbered lines, every third one an error: what was written, byte by byte with its source.
async fn write_lines(output: &Arc<Output>, bytes: usize) -> Vec<(Source, u8)> {
    let mut written = Vec::new();
    for line in 0.. {
        if written.len() >= bytes {
            break;
        }
        let source = if line % 3 == 0 { Source::Stderr } else { Source::Stdout };
        let text = format!("{line} {}\n", "x".repeat(line % 5000));
        output.add(source, text.as_bytes()).await;
        written.extend(text.bytes().map(|byte| (source, byte)));
    }
    written
}

/// What a viewer sees until something else than output, and that.
async fn read(viewer: &mut Viewer) -> (Vec<(Source, u8)>, Seen) {
    let mut seen = Vec::new();
    loop {
        match viewer.next().await {
            Seen::Output(source, bytes) => seen.extend(bytes.iter().map(|byte| (source, *byte))),
            other => return (seen, other),
        }
    }
}

#[tokio::test]
async fn a_late_viewer_sees_all_that_is_kept_and_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let output = Arc::new(Output::new(&spool(dir.path(), MIB)));
    output.add(Source::Stdout, b"aaa").await;
    output.add(Source::Stderr, b"bb").await;
    output.end(exited(7));
    for _ in 0..2 {
        let mut viewer = output.view(0);
        assert_eq!(viewer.next().await, Seen::Output(Source::Stdout, "aaa".into()));
        assert_eq!(viewer.next().await, Seen::Output(Source::Stderr, "bb".into()));
        assert_eq!(viewer.next().await, Seen::End(exited(7)));
    }
    let mut later = output.view(4);
    assert_eq!(later.next().await, Seen::Output(Source::Stderr, "b".into()));
    let mut last = output.view(u64::MAX);
    assert_eq!(last.next().await, Seen::End(exited(7)));
    assert_eq!(on_disk(dir.path()), 0, "little output never touches the disk");
}

#[tokio::test]
async fn what_memory_no_longer_holds_is_read_from_any_byte_by_anyone_at_any_time() {
    let dir = tempfile::tempdir().unwrap();
    let output = Arc::new(Output::new(&spool(dir.path(), 64 * MIB)));
    let mut from_the_start = output.view(0);
    let written = write_lines(&output, 9 * MIB).await;
    assert!(output.memory() <= KEPT && on_disk(dir.path()) > 8 * MIB as u64);
    let mut halfway = output.view(0);
    for _ in 0..50 {
        assert!(matches!(halfway.next().await, Seen::Output(..)));
    }
    output.end(exited(3));
    for from in [0, 1, 100, MIB, 4 * MIB + 77, written.len() - 5, written.len()] {
        let mut viewer = output.view(from as u64);
        assert_eq!(viewer.from, from as u64);
        let (seen, end) = read(&mut viewer).await;
        assert!(seen == written[from..] && end == Seen::End(exited(3)), "from {from}");
    }
    let (seen, _) = read(&mut from_the_start).await;
    assert!(seen == written, "it was behind all the time and held nobody up");
    assert!(output.store(usize::MAX).await && output.memory() == 0, "an ended command needs no memory");
    let (seen, end) = read(&mut halfway).await;
    assert!(written.ends_with(&seen) && end == Seen::End(exited(3)));
    assert!(read(&mut output.view(5)).await.0 == written[5..]);
}

#[tokio::test]
async fn beyond_the_limit_the_oldest_goes_and_a_viewer_is_told_where_it_begins() {
    let dir = tempfile::tempdir().unwrap();
    let output = Arc::new(Output::new(&spool(dir.path(), 12 * MIB)));
    let written = write_lines(&output, 40 * MIB).await;
    assert!(on_disk(dir.path()) <= 12 * MIB as u64);
    output.end(exited(0));
    let mut viewer = output.view(0);
    let begin = usize::try_from(viewer.from).unwrap();
    assert!((written.len() - 13 * MIB..written.len() - 7 * MIB).contains(&begin), "{begin}");
    assert!(read(&mut viewer).await.0 == written[begin..]);
    drop((viewer, output));
    assert_eq!(on_disk(dir.path()), 0, "nothing is left of a command that is forgotten");
}

#[tokio::test]
async fn ended_commands_make_room_first_and_a_flood_takes_nothing_from_those_that_keep_little() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(dir.path(), 16 * MIB);
    let [ended, quiet, flood] = [(); 3].map(|()| Arc::new(Output::new(&spool)));
    for output in [&ended, &quiet] {
        output.add(Source::Stdout, &chunk(3 * MIB, b'q')).await;
    }
    flood.add(Source::Stdout, &chunk(10 * MIB, b'f')).await;
    ended.end(exited(0));
    assert_eq!((ended.view(0).from, flood.view(0).from), (0, 0));
    flood.add(Source::Stdout, &chunk(4 * MIB, b'f')).await;
    assert!(ended.view(0).from > 0 && flood.view(0).from == 0, "the ended one went first");
    flood.add(Source::Stdout, &chunk(40 * MIB, b'f')).await;
    assert_eq!(quiet.view(0).from, 0);
    assert!(flood.view(0).from > 0);
    let new = Arc::new(Output::new(&spool));
    new.add(Source::Stdout, &chunk(4 * MIB, b'n')).await;
    let mut stuck = flood.view(0);
    flood.add(Source::Stdout, &chunk(8 * MIB, b'f')).await;
    assert_eq!(stuck.next().await, Seen::Lost);
    assert_eq!((quiet.view(0).from, new.view(0).from), (0, 0), "the one that keeps most paid, also for its viewer");
}

#[tokio::test]
async fn a_reading_viewer_misses_nothing_beyond_the_limit_and_one_that_stops_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let output = Arc::new(Output::new(&spool(dir.path(), 4 * MIB)));
    let (mut reading, mut stuck) = (output.view(0), output.view(0));
    let write = async {
        for byte in 0..40 {
            output.add(Source::Stdout, &chunk(KEPT / 2, byte)).await;
        }
        output.end(exited(0));
    };
    let ((), (seen, end)) = tokio::join!(write, read(&mut reading));
    assert_eq!(end, Seen::End(exited(0)));
    assert!(seen.iter().map(|(_, byte)| *byte).eq((0..40).flat_map(|byte| std::iter::repeat_n(byte, KEPT / 2))));
    assert_eq!(stuck.next().await, Seen::Lost);
}

#[tokio::test]
async fn a_disk_that_takes_nothing_costs_old_output_and_never_the_command() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("output"), "no folder can be here").unwrap();
    let broken = Arc::new(Output::new(&spool(dir.path(), 64 * MIB)));
    let full = Arc::new(Output::new(&Arc::new(Spool::new(dir.path().join("other"), 64 * MIB as u64, u64::MAX))));
    for output in [broken, full] {
        let written = write_lines(&output, 5 * MIB).await;
        output.end(exited(0));
        assert!(output.memory() <= KEPT);
        let mut viewer = output.view(0);
        let begin = usize::try_from(viewer.from).unwrap();
        assert!(begin > 4 * MIB - MIB / 2, "{begin}");
        assert!(read(&mut viewer).await.0 == written[begin..]);
    }
}

#[tokio::test]
async fn output_that_the_disk_has_lost_is_told_and_what_follows_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let output = Arc::new(Output::new(&spool(dir.path(), 64 * MIB)));
    let written = write_lines(&output, 6 * MIB).await;
    output.end(exited(0));
    let first = std::fs::read_dir(dir.path().join("output"))
        .unwrap()
        .map(|file| file.unwrap().path())
        .min_by_key(|path| path.file_name().unwrap().to_str().unwrap().parse::<u64>().unwrap());
    std::fs::write(first.unwrap(), "").unwrap();
    let mut lost = 0;
    let (begin, seen) = loop {
        let mut viewer = output.view(0);
        match read(&mut viewer).await {
            (seen, Seen::Lost) => lost += usize::from(seen.is_empty()),
            (seen, _) => break (usize::try_from(viewer.from).unwrap(), seen),
        }
    };
    assert!(lost > 10 && (4 * MIB - MIB / 2..5 * MIB).contains(&begin), "{lost} {begin}");
    assert!(seen == written[begin..]);
}

#[tokio::test]
async fn what_is_given_up_goes_with_its_last_viewer_and_the_end_is_still_told() {
    let dir = tempfile::tempdir().unwrap();
    let spool = spool(dir.path(), 64 * MIB);
    let output = Arc::new(Output::new(&spool));
    let written = write_lines(&output, 3 * MIB).await;
    output.end(exited(9));
    let mut viewer = output.view(0);
    spool.close();
    output.give_up();
    assert!(read(&mut viewer).await.0 == written);
    drop(viewer);
    assert_eq!((output.memory(), on_disk(dir.path())), (0, 0));
    let mut late = output.view(0);
    assert_eq!((late.from, late.next().await), (written.len() as u64, Seen::End(exited(9))));
    output.add(Source::Stdout, b"later").await;
    assert!(!output.store(usize::MAX).await, "nothing is written any more");
}
