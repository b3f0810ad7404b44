//! The carriers and the threads: rings, watermarks, agents, layouts and the runners that turn them.
//!
//! Called by every process of the exchange to move fixed-size messages between agents and to put
//! agents on threads and cores.
//!
//! Always holds: each ring has one producer and one consumer; full is an answer, never a wait;
//! after construction a ring and a watermark neither allocate, lock nor call the kernel.
//! Does not: know what it carries, open files or sockets, or read a clock for its agents.

pub mod agent;
pub mod cores;
pub mod idle;
pub mod layout;
pub mod ping_pong;
pub mod prefetch;
pub mod ring;
pub mod runner;
pub mod sync;
pub mod watermark;

pub use agent::{Agent, Halt};
pub use cores::{
    CoreError, CoreId, NICE_MAX, lower_current_thread, online_cores, pin_current_thread,
};
pub use idle::{IdleStrategy, Idler, ParseIdleError};
pub use layout::{Layout, LayoutError, ThreadLayout};
pub use ping_pong::{PingPong, ping_pong};
pub use prefetch::fetch_for_writing;
pub use ring::{Capacity, CapacityError, Consumer, Full, Producer, ring};
pub use runner::{AgentFailure, Inline, Running, StopHandle, run};
pub use watermark::{WatermarkReader, WatermarkWriter, watermark};
