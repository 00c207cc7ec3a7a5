//// How late ticks are.

import viva_tensor/cli/ticker.{Lateness}
import viva_tensor/otp

pub fn lateness_test() {
  assert ticker.lateness([]) == Lateness(0.0, 0.0)
  assert ticker.lateness([0.5]) == Lateness(0.5, 0.5)
  let delays = otp.append(otp.repeat(1.0, times: 98), [7.0, 3.0])
  assert ticker.lateness(delays) == Lateness(p99_ms: 3.0, max_ms: 7.0)
  assert ticker.lateness([2.0, ..delays]) == Lateness(p99_ms: 3.0, max_ms: 7.0)
}

/// A tick every 10 ms, none of them early, and the work's value.
pub fn beside_test() {
  let start = otp.monotonic_seconds()
  let #(value, delays) =
    ticker.beside(fn() {
      ticker.sleep(205)
      "done"
    })
  assert value == "done"
  let seconds = otp.monotonic_seconds() -. start
  let ticks = otp.int_to_float(otp.length(delays))
  // The first one counts from the millisecond in which it began.
  assert ticks >. 10.0 && ticks <=. { seconds +. 0.001 } *. 100.0
  assert otp.filter(delays, fn(delay) { delay <. 0.0 }) == []
}
