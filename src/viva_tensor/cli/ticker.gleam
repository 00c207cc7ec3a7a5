//// How late a process wakes that wants to wake every 10 ms: what other
//// processes of the VM feel of a model at work.
////
//// A tick that falls into a long delay counts, too. The surprise: timers of
//// the VM are good to a millisecond, so even an idle VM is not on time.

import viva_tensor/otp

/// A process that ticks.
type Ticker

/// By how many milliseconds ticks were late.
pub type Lateness {
  Lateness(p99_ms: Float, max_ms: Float)
}

const interval_milliseconds = 10

@external(erlang, "viva_tensor_ffi", "start_ticker")
fn start(interval_milliseconds: Int) -> Ticker

@external(erlang, "viva_tensor_ffi", "stop_ticker")
fn stop(ticker: Ticker) -> List(Float)

@external(erlang, "timer", "sleep")
fn timer_sleep(milliseconds: Int) -> a

/// Lets time pass.
pub fn sleep(milliseconds: Int) -> Nil {
  timer_sleep(milliseconds)
  Nil
}

/// The work's value, and the delays in milliseconds of a process that ticked
/// beside it.
pub fn beside(work: fn() -> a) -> #(a, List(Float)) {
  let ticker = start(interval_milliseconds)
  let value = work()
  #(value, stop(ticker))
}

/// What 99 of 100 delays do not exceed, and the longest one; of no delays 0.0.
///
/// ```gleam
/// ticker.lateness([0.4, 0.2, 1.5])
/// // -> Lateness(p99_ms: 1.5, max_ms: 1.5)
/// ```
pub fn lateness(delays: List(Float)) -> Lateness {
  let falling = otp.reverse(otp.sort(delays))
  Lateness(
    p99_ms: first(otp.drop(falling, otp.length(falling) / 100)),
    max_ms: first(falling),
  )
}

fn first(list: List(Float)) -> Float {
  case list {
    [value, ..] -> value
    [] -> 0.0
  }
}
