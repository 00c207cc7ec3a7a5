//// Sessions: memory between turns, and processes that share, die or give up.

import support
import viva_tensor as t
import viva_tensor/otp

fn request(max_new_tokens: Int) -> t.Request {
  t.request(support.greedy(max_new_tokens))
}

// Memory.

pub fn second_turn_reads_only_what_is_new_test() {
  let model = support.load("llama")
  let assert Ok(session) = t.open_session(model, [t.system("Be brief.")])
  let assert Ok(#(session, first)) = t.ask(session, "Why?", request(8))
  assert first.cached_tokens == 0
  let assert Ok(#(session, second)) = t.ask(session, "And now?", request(8))
  assert second.cached_tokens > 0
  assert second.timings.prefill_tokens
    == second.prompt_tokens - second.cached_tokens
  assert t.messages(session)
    == [
      t.system("Be brief."),
      t.user("Why?"),
      t.assistant(first.text),
      t.user("And now?"),
      t.assistant(second.text),
    ]
  let assert Ok(Nil) = t.close_session(session)
}

pub fn memory_changes_no_token_test() {
  use name <- support.each(support.names)
  let model = support.load(name)
  let assert Ok(session) = t.open_session(model, [])
  let assert Ok(#(session, first)) = t.ask(session, "Why?", request(8))
  let assert Ok(#(_, second)) = t.ask(session, "And now?", request(8))
  let messages = [t.user("Why?"), t.assistant(first.text), t.user("And now?")]
  let assert Ok(fresh) = t.chat(model, messages, request(8))
  assert #(name, second.prompt_token_ids) == #(name, fresh.prompt_token_ids)
  assert #(name, second.token_ids) == #(name, fresh.token_ids)
}

pub fn an_older_session_can_be_asked_again_test() {
  let model = support.load("llama")
  let assert Ok(session) = t.open_session(model, [])
  let assert Ok(#(_, one)) = t.ask(session, "Why?", request(6))
  let assert Ok(_) = t.ask(session, "Something else entirely?", request(6))
  let assert Ok(#(_, two)) = t.ask(session, "Why?", request(6))
  assert one.token_ids == two.token_ids
}

pub fn complete_reuses_the_prompt_test() {
  let model = support.load("llama")
  let assert Ok(session) = t.open_session(model, [])
  let prompt = "The GNU General Public License"
  let assert Ok(first) = t.complete(session, prompt, request(4))
  let assert Ok(second) = t.complete(session, prompt <> " is", request(4))
  assert first.cached_tokens == 0
  assert second.cached_tokens > 0
  let assert Ok(fresh) = t.generate(model, prompt <> " is", support.greedy(4))
  assert second.token_ids == fresh.token_ids
}

pub fn stopped_answer_stays_in_the_conversation_test() {
  let model = support.load("llama")
  let assert Ok(session) = t.open_session(model, [])
  let assert Ok(#(session, answer)) =
    t.ask_stream(session, "Why?", request(2000), fn(_) { t.Stop })
  assert answer.finish_reason == t.Cancelled
  assert t.messages(session) == [t.user("Why?"), t.assistant(answer.text)]
  let assert Ok(_) = t.ask(session, "And?", request(4))
}

pub fn closed_session_test() {
  let model = support.load("llama")
  let assert Ok(session) = t.open_session(model, [])
  assert t.close_session(session) == Ok(Nil)
  assert t.close_session(session) == Ok(Nil)
  let assert Error(t.InvalidOption(option: "session", ..)) =
    t.ask(session, "Why?", request(4))
}

// Processes.

/// Starts an answer that waits in its first piece, and returns its process.
fn waiting(session: t.Session) -> support.Process {
  let me = support.self()
  let process =
    support.spawned(fn() {
      t.ask_stream(session, "Why?", request(2000), fn(_) {
        support.notify(me, "started")
        support.sleep(20_000)
        t.Stop
      })
    })
  assert support.await("started")
  process
}

pub fn session_of_another_process_is_busy_test() {
  let model = support.load("llama")
  let assert Ok(session) = t.open_session(model, [])
  let process = waiting(session)
  assert t.ask(session, "Me too?", request(4)) == Error(t.Busy)
  assert t.close_session(session) == Error(t.Busy)
  support.kill(process)
  let assert Ok(_) = t.ask(session, "And now?", request(4))
}

pub fn a_turn_within_a_turn_is_busy_test() {
  let model = support.load("llama")
  let assert Ok(session) = t.open_session(model, [])
  let me = support.self()
  let assert Ok(_) =
    t.ask_stream(session, "Why?", request(4), fn(_) {
      case t.ask(session, "Within?", request(4)) {
        Error(t.Busy) -> support.notify(me, "busy")
        _ -> support.notify(me, "not busy")
      }
      t.Continue
    })
  let assert ["busy", ..] = support.received()
}

pub fn exception_leaves_the_session_free_test() {
  let model = support.load("llama")
  let assert Ok(session) = t.open_session(model, [])
  assert support.raises(fn() {
    t.ask_stream(session, "Why?", request(4), fn(_) { panic as "not today" })
  })
  let assert Ok(_) = t.ask(session, "Why?", request(4))
}

/// Its work goes on until the library notices: until then the session is busy.
pub fn killed_caller_stops_within_50_ms_test() {
  let model = support.load("qwen3")
  let me = support.self()
  use _ <- support.each([1, 2, 3, 4, 5])
  let assert Ok(session) = t.open_session(model, [])
  let process =
    support.spawned(fn() {
      t.ask_stream(session, "Why?", request(4000), fn(_) {
        support.notify(me, "started")
        t.Continue
      })
    })
  assert support.await("started")
  support.kill(process)
  let free = fn() { t.close_session(session) == Ok(Nil) }
  assert support.becomes_true(within: 50, check: free)
  support.received()
}

pub fn many_processes_share_a_model_test() {
  let model = support.load("llama")
  let assert Ok(alone) = t.generate(model, "Hello", support.greedy(16))
  let me = support.self()
  let work = fn() {
    let assert Ok(result) = t.generate(model, "Hello", support.greedy(16))
    support.notify(me, result.text)
  }
  let processes = otp.map([1, 2, 3, 4, 5, 6], fn(_) { support.spawned(work) })
  support.each(processes, support.await_process)
  assert support.received() == otp.repeat(alone.text, times: 6)
}
