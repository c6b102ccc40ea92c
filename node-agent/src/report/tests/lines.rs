//! Lines on their way to readers that stall, go away, or have no room.

use std::time::Duration;

use super::*;

/// Answers each write with the next result; then takes everything.
struct Scripted {
    results: Vec<io::Result<usize>>,
    written: mpsc::Sender<Vec<u8>>,
}

impl Write for Scripted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = if self.results.is_empty() {
            bytes.len()
        } else {
            self.results.remove(0)?.min(bytes.len())
        };
        self.written.send(bytes[..length].to_vec()).unwrap();
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lost_record() -> Record {
    record(Body::Lost(Lost {
        stage: Stage::Ring,
        count: 7,
        total: 9,
    }))
}

/// A record that stands for so many attempts.
fn counting(count: u64) -> Record {
    record(Body::Connection(Box::new(Connection {
        count,
        ..blocked()
    })))
}

fn line(record: &Record) -> String {
    serde_json::to_string(record).unwrap()
}

/// Writes these to an output that gives such results; returns what came out and how much was lost.
fn written(results: Vec<io::Result<usize>>, batches: &[&[Record]]) -> (String, u64) {
    let (written, bytes) = mpsc::channel();
    let mut lines = Lines::to(Scripted { results, written }, "test", Patience::Wait).unwrap();
    for batch in batches {
        batch.iter().for_each(|record| lines.write(record).unwrap());
        lines.flush().unwrap();
    }
    let lost = match lines.finish() {
        Ok(()) => 0,
        Err(Error::Unwritten { count }) => count,
        Err(other) => panic!("{other}"),
    };
    (
        String::from_utf8(bytes.iter().flatten().collect()).unwrap(),
        lost,
    )
}

#[test]
fn full_disk_is_counted_and_the_next_line_is_whole() {
    let full = || Err(io::ErrorKind::StorageFull.into());
    let (first, second) = (counting(3), counting(1));
    let results = vec![Ok(5), full(), full()];
    let batches = [&first, &second, &second].map(std::slice::from_ref);
    let (text, lost) = written(results, &batches);
    let (first, second) = (line(&first), line(&second));
    assert_eq!(text, format!("{}\n{second}\n", &first[..5]));
    assert_eq!(lost, 3 + 1);
}

/// A disk that fills in the middle of the second of three records: one is written, two are lost.
#[test]
fn losses_are_counted_by_what_each_line_counts() {
    let whole = line(&counting(3));
    let results = vec![Ok(whole.len() + 6), Err(io::ErrorKind::StorageFull.into())];
    let (text, lost) = written(results, &[&[counting(3), counting(3), counting(3)]]);
    assert_eq!(text, format!("{whole}\n{}\n", &whole[..5]));
    assert_eq!(lost, 6);
}

/// What says that something was lost is never lost itself: it is written before all else when there is room.
#[test]
fn what_tells_of_losses_is_kept() {
    let results = vec![Err(io::ErrorKind::StorageFull.into())];
    let batches: [&[Record]; 2] = [&[counting(3), lost_record()], &[counting(3)]];
    let (text, lost) = written(results, &batches);
    let (told, later) = (line(&lost_record()), line(&counting(3)));
    assert_eq!(text, format!("{told}\n{later}\n"));
    assert_eq!(lost, 3);
}

#[test]
fn reader_that_goes_away_is_said() {
    let (written, _bytes) = mpsc::channel();
    let results = vec![Err(io::ErrorKind::BrokenPipe.into())];
    let mut lines = Lines::to(Scripted { results, written }, "test", Patience::Wait).unwrap();
    lines.write(&lost_record()).unwrap();
    lines.flush().unwrap();
    assert!(matches!(lines.finish(), Err(Error::Closed)));
}

#[test]
fn hostile_names_stay_in_their_line() {
    let mut hostile = blocked();
    hostile.destination.name = Some("a\n{\"schema\":\"x\"}\u{1b}[31m\r\u{9b}0m\u{202e}".into());
    let (written, bytes) = mpsc::channel();
    let results = vec![];
    let mut lines = Lines::to(Scripted { results, written }, "test", Patience::Wait).unwrap();
    lines
        .write(&record(Body::Connection(Box::new(hostile))))
        .unwrap();
    lines.finish().unwrap();
    let text = String::from_utf8(bytes.iter().flatten().collect()).unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    assert!(!text.contains(['\u{1b}', '\r', '\u{9b}', '\u{202e}']));
}

/// A reader that stops: what waits is bounded, the rest is counted, and nobody is held up.
#[test]
fn stalled_reader_costs_no_more_than_what_may_wait() {
    struct Stalled(mpsc::Receiver<()>);
    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // Until the test lets go.
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (go, stalled) = mpsc::channel();
    let mut lines = Lines::to(Stalled(stalled), "test", Patience::Lose).unwrap();
    let record = counting(1);
    let length = serde_json::to_string(&record).unwrap().len() as u64;
    let (written, per_flush) = (40_000, 100);
    for number in 0..written {
        lines.write(&record).unwrap();
        if number % per_flush == 0 {
            lines.flush().unwrap();
        }
    }
    let waiting = (written - lines.lost_total()) * length;
    assert!(lines.lost_total() > 0);
    assert!(waiting < 9 << 20, "{waiting} bytes wait");
    drop(go);
    lines.finish().unwrap();
}

/// What was held back comes at once at the end, and is more than what may wait: a reader that takes it gets it all.
#[test]
fn nothing_is_lost_at_the_end_when_somebody_reads() {
    let (written, bytes) = mpsc::channel();
    let results = Vec::new();
    let mut lines = Lines::to(Scripted { results, written }, "test", Patience::Lose).unwrap();
    let record = counting(1);
    let length = line(&record).len() + 1;
    lines.begin_end(Duration::from_secs(60));
    let wanted = 12_000;
    assert!(wanted * length > 16 << 20, "{length} bytes each");
    for _ in 0..wanted {
        lines.write(&record).unwrap();
    }
    assert_eq!(lines.lost_total(), 0);
    lines.finish().unwrap();
    let came: usize = bytes.iter().map(|bytes| bytes.len()).sum();
    assert_eq!(came, wanted * length);
}
