//! The runners: order of turning, stop, the first failure, closing, pins.

#![cfg(not(loom))]
#![allow(clippy::unwrap_used)]

use exahour_rings::{
    Agent, AgentFailure, Capacity, Consumer, CoreId, Halt, IdleStrategy, Inline, Layout,
    LayoutError, Producer, ThreadLayout, online_cores, ring, run,
};
use std::sync::{Arc, Mutex};

type Diary = Arc<Mutex<Vec<String>>>;

/// What a probe does in its turn of this number, counted from 0.
#[derive(Clone, Copy)]
enum Act {
    Work,
    HaltAt(usize),
    PanicAt(usize),
    RefuseStart,
    PanicOnClose,
}

/// Writes down what the runner does to it.
struct Probe {
    name: &'static str,
    act: Act,
    turn: usize,
    diary: Diary,
}

impl Probe {
    fn boxed(name: &'static str, act: Act, diary: &Diary) -> Box<dyn Agent> {
        Box::new(Probe {
            name,
            act,
            turn: 0,
            diary: Arc::clone(diary),
        })
    }

    fn write(&self, what: &str) {
        self.diary
            .lock()
            .unwrap()
            .push(format!("{} {what}", self.name));
    }
}

impl Agent for Probe {
    fn name(&self) -> &'static str {
        self.name
    }

    fn on_start(&mut self) -> Result<(), Halt> {
        self.write("start");
        match self.act {
            Act::RefuseStart => Err(Halt::new("port 7001 is in use")),
            _ => Ok(()),
        }
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        if self.turn < 3 {
            self.write(&format!("turn {}", self.turn));
        }
        let turn = self.turn;
        self.turn += 1;
        match self.act {
            Act::HaltAt(at) if at == turn => Err(Halt::new("flush failed")),
            Act::PanicAt(at) => {
                assert_ne!(at, turn, "a fault");
                Ok(0)
            }
            _ => Ok(usize::from(turn < 3)),
        }
    }

    fn on_close(&mut self) {
        self.write("close");
        assert!(!matches!(self.act, Act::PanicOnClose), "a fault on close");
    }
}

fn lines(diary: &Diary) -> Vec<String> {
    diary.lock().unwrap().clone()
}

/// Each agent on a thread of its own, all parking, so that any machine can run it.
fn apart(names: &[&str]) -> Layout {
    let idle = IdleStrategy::Park { micros: 200 };
    Layout::new(
        names
            .iter()
            .map(|name| ThreadLayout::new(name, idle, &[name]))
            .collect(),
    )
}

fn fused(names: &[&str]) -> Layout {
    Layout::new(vec![ThreadLayout::new("all", IdleStrategy::BackOff, names)])
}

#[test]
fn inline_turns_in_the_order_given() {
    let diary = Diary::default();
    let agents = vec![
        Probe::boxed("b", Act::Work, &diary),
        Probe::boxed("a", Act::Work, &diary),
    ];
    let mut inline = Inline::start(agents).unwrap();
    let worked: Vec<usize> = (0..4).map(|_| inline.step().unwrap()).collect();
    inline.close();
    assert_eq!(worked, [2, 2, 2, 0]);
    let expected =
        "b start,a start,b turn 0,a turn 0,b turn 1,a turn 1,b turn 2,a turn 2,b close,a close";
    assert_eq!(lines(&diary).join(","), expected);
}

#[test]
fn inline_hands_a_halt_to_the_caller() {
    let diary = Diary::default();
    let agents = vec![
        Probe::boxed("a", Act::HaltAt(1), &diary),
        Probe::boxed("b", Act::Work, &diary),
    ];
    let mut inline = Inline::start(agents).unwrap();
    assert_eq!(inline.step().unwrap(), 2);
    assert_eq!(inline.step().unwrap_err().to_string(), "flush failed");
    assert_eq!(lines(&diary).last().unwrap(), "a turn 1");
}

#[test]
fn inline_closes_what_it_started_when_a_start_fails() {
    let diary = Diary::default();
    let agents = vec![
        Probe::boxed("a", Act::Work, &diary),
        Probe::boxed("b", Act::RefuseStart, &diary),
    ];
    let Err(halt) = Inline::start(agents) else {
        panic!("started")
    };
    assert_eq!(halt.to_string(), "port 7001 is in use");
    assert_eq!(lines(&diary), ["a start", "b start", "a close"]);
}

#[test]
fn a_fused_thread_turns_agents_in_the_layouts_order_and_closes_them() {
    let diary = Diary::default();
    let agents = vec![
        Probe::boxed("b", Act::Work, &diary),
        Probe::boxed("a", Act::HaltAt(2), &diary),
    ];
    let running = run(&fused(&["a", "b"]), agents).unwrap();
    let failure = running.join().unwrap_err();
    assert_eq!(failure.to_string(), "agent `a` halted: flush failed");
    let expected = [
        "a start", "b start", "a turn 0", "b turn 0", "a turn 1", "b turn 1", "a turn 2",
        "a close", "b close",
    ];
    assert_eq!(lines(&diary), expected);
}

#[test]
fn a_stop_ends_every_thread_without_failure() {
    let diary = Diary::default();
    let agents = vec![
        Probe::boxed("a", Act::Work, &diary),
        Probe::boxed("b", Act::Work, &diary),
    ];
    let running = run(&apart(&["a", "b"]), agents).unwrap();
    let handle = running.stop_handle();
    std::thread::spawn(move || handle.stop()).join().unwrap();
    running.join().unwrap();
    let closed = lines(&diary)
        .iter()
        .filter(|line| line.ends_with("close"))
        .count();
    let started = lines(&diary)
        .iter()
        .filter(|line| line.ends_with("start"))
        .count();
    assert_eq!(closed, started);
}

#[test]
fn one_halt_stops_all_threads_and_is_the_one_reported() {
    let diary = Diary::default();
    let agents = vec![
        Probe::boxed("a", Act::Work, &diary),
        Probe::boxed("b", Act::HaltAt(100), &diary),
    ];
    let failure = run(&apart(&["a", "b"]), agents)
        .unwrap()
        .join()
        .unwrap_err();
    assert!(
        matches!(failure, AgentFailure::Halted { agent: "b", .. }),
        "{failure}"
    );
}

#[test]
fn one_panic_stops_all_threads_and_that_agent_is_not_closed() {
    let diary = Diary::default();
    let agents = vec![
        Probe::boxed("a", Act::Work, &diary),
        Probe::boxed("b", Act::PanicAt(5), &diary),
    ];
    let failure = run(&fused(&["a", "b"]), agents)
        .unwrap()
        .join()
        .unwrap_err();
    let AgentFailure::Panicked {
        agent: "b",
        message,
    } = &failure
    else {
        panic!("{failure}")
    };
    assert!(message.contains("a fault"), "{message}");
    let seen = lines(&diary);
    assert!(seen.contains(&"a close".to_owned()) && !seen.contains(&"b close".to_owned()));
}

#[test]
fn a_refused_start_stops_all_and_closes_the_started() {
    let diary = Diary::default();
    let agents = vec![
        Probe::boxed("a", Act::Work, &diary),
        Probe::boxed("b", Act::RefuseStart, &diary),
    ];
    let failure = run(&fused(&["a", "b"]), agents)
        .unwrap()
        .join()
        .unwrap_err();
    assert_eq!(failure.to_string(), "agent `b` halted: port 7001 is in use");
    assert_eq!(lines(&diary), ["a start", "b start", "a close"]);
}

#[test]
fn a_panic_on_close_is_reported_and_the_others_are_closed() {
    let diary = Diary::default();
    let agents = vec![
        Probe::boxed("a", Act::PanicOnClose, &diary),
        Probe::boxed("b", Act::Work, &diary),
    ];
    let running = run(&fused(&["a", "b"]), agents).unwrap();
    while !lines(&diary).contains(&"b turn 0".to_owned()) {
        std::thread::yield_now();
    }
    running.stop();
    let failure = running.join().unwrap_err();
    assert!(
        matches!(failure, AgentFailure::Panicked { agent: "a", .. }),
        "{failure}"
    );
    assert_eq!(lines(&diary).last().unwrap(), "b close");
}

#[test]
fn dropping_the_running_agents_stops_them() {
    let diary = Diary::default();
    let running = run(&fused(&["a"]), vec![Probe::boxed("a", Act::Work, &diary)]).unwrap();
    drop(running);
    assert_eq!(Arc::strong_count(&diary), 1);
}

#[test]
fn a_layout_that_does_not_fit_starts_nothing() {
    let diary = Diary::default();
    let agents = vec![Probe::boxed("a", Act::Work, &diary)];
    let offline = Layout::new(vec![
        ThreadLayout::new("t", IdleStrategy::Yield, &["a"]).pinned(CoreId(u16::MAX)),
    ]);
    let Err(error) = run(&offline, agents) else {
        panic!("ran")
    };
    assert!(matches!(error, LayoutError::CoreOffline { .. }), "{error}");
    assert!(lines(&diary).is_empty());
}

/// Reports the cores that it may run on once it is started.
struct WhereAmI(Arc<Mutex<Vec<CoreId>>>);

impl Agent for WhereAmI {
    fn name(&self) -> &'static str {
        "where"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        Ok(0)
    }

    fn on_start(&mut self) -> Result<(), Halt> {
        *self.0.lock().unwrap() = online_cores().map_err(Halt::new)?;
        Err(Halt::new("seen"))
    }
}

#[test]
fn agents_start_on_their_pinned_core() {
    let core = *online_cores().unwrap().last().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let layout = Layout::new(vec![
        ThreadLayout::new("t", IdleStrategy::Yield, &["where"]).pinned(core),
    ]);
    let running = run(&layout, vec![Box::new(WhereAmI(Arc::clone(&seen)))]).unwrap();
    assert_eq!(
        running.join().unwrap_err().to_string(),
        "agent `where` halted: seen"
    );
    assert_eq!(*seen.lock().unwrap(), [core]);
}

/// Counts up into a ring.
struct Source {
    to: Producer<u64>,
    next: u64,
}

/// Checks that the numbers come in order, and halts at the last.
struct Sink {
    from: Consumer<u64>,
    expected: u64,
}

const LAST: u64 = 20_000;

impl Agent for Source {
    fn name(&self) -> &'static str {
        "source"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        let before = self.next;
        while self.to.try_push(self.next).is_ok() {
            self.next += 1;
        }
        Ok((self.next - before) as usize)
    }
}

impl Agent for Sink {
    fn name(&self) -> &'static str {
        "sink"
    }

    fn do_work(&mut self) -> Result<usize, Halt> {
        let expected = &mut self.expected;
        let count = self.from.drain(16, |number| {
            assert_eq!(number, expected);
            *expected += 1;
        });
        if *expected > LAST {
            Err(Halt::new("all seen"))
        } else {
            Ok(count)
        }
    }
}

#[test]
fn the_same_agents_run_apart_fused_and_stepped() {
    let agents = || -> Vec<Box<dyn Agent>> {
        let (to, from) = ring(Capacity::new(64).unwrap());
        vec![
            Box::new(Source { to, next: 0 }),
            Box::new(Sink { from, expected: 0 }),
        ]
    };
    for layout in [apart(&["source", "sink"]), fused(&["source", "sink"])] {
        let failure = run(&layout, agents()).unwrap().join().unwrap_err();
        assert_eq!(failure.to_string(), "agent `sink` halted: all seen");
    }
    let mut inline = Inline::start(agents()).unwrap();
    let halt = loop {
        if let Err(halt) = inline.step() {
            break halt;
        }
    };
    assert_eq!(halt.to_string(), "all seen");
}
