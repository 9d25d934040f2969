//! One engine for all tests: compiling it is what takes long.

use std::{collections::VecDeque, sync::LazyLock};

use super::*;
use crate::wire::{Answer, Body, Report};

static PREPARED: LazyLock<Prepared> = LazyLock::new(|| Prepared::new(None).expect("the engine"));

/// Answers every request with its own body.
#[derive(Default)]
struct Echo(VecDeque<Order>);

impl Outside for Echo {
    fn tell(&mut self, report: &Report) -> std::io::Result<()> {
        let Report::Request { id, request } = report else { return Ok(()) };
        let body = Body::Text(format!("{} {}", request.method, request.body.as_deref().unwrap_or_default()));
        let answer = Answer { status: 200, headers: vec![("x-url".to_owned(), request.url.clone())], body };
        self.0.push_front(Order::Answer { id: *id, result: Ok(answer) });
        Ok(())
    }

    fn hear(&mut self, _: Duration) -> Option<Order> {
        self.0.pop_front()
    }
}

fn ran(code: &str, input: &str) -> Done {
    run(&PREPARED, Box::<Echo>::default(), &Job { code: code.to_owned(), input: input.to_owned(), timeout_ms: 2000 }).done
}

fn text(code: &str) -> String {
    match ran(&format!("export default async () => {{ {code} }}"), "{}").outcome {
        Outcome::Text(text) => text,
        other => panic!("{code}: {other:?}"),
    }
}

fn failure(code: &str) -> Failure {
    match ran(code, "{}").outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{code}: {other:?}"),
    }
}

#[test]
fn a_function_gets_its_input_and_gives_an_object() {
    let done = ran("export default ({ a, b }, { timeoutMs }) => ({ sum: a + b, 'ü\\u0000': timeoutMs })", r#"{"a": 1, "b": 2}"#);
    let Outcome::Object(object) = done.outcome else { panic!("{done:?}") };
    let object: serde_json::Value = serde_json::from_str(&object).expect("JSON");
    assert_eq!(object, serde_json::json!({ "sum": 3, "ü\0": 2000 }));
}

#[test]
fn what_is_no_object_is_text() {
    assert_eq!(text("return 'plain'"), "plain");
    assert_eq!(text("return [1, 2]"), "[1,2]");
    assert_eq!(text("return null"), "null");
    assert_eq!(text(""), "");
    assert_eq!(text("return 'a\\u0000b'"), "a\0b");
}

#[test]
fn errors_have_a_message_and_a_line() {
    let thrown = failure("export default () => {\n\n  throw new RangeError('too far');\n}");
    assert_eq!(thrown, Failure { class: Class::Threw, message: "RangeError: too far".to_owned(), line: Some(3) });
    let syntax = failure("export default () => {\n  let = ;\n}");
    assert!(syntax.message.starts_with("SyntaxError") && syntax.line == Some(2), "{syntax:?}");
    assert!(failure("const a = 1;").message.contains("default export"));
    assert!(failure("import x from 'fs'; export default () => x").message.contains("fs"));
    assert!(failure("export default () => new Promise(() => {})").message.contains("nothing resolves"));
    assert_eq!(failure("export default async () => { throw 'bare' }").message, "threw bare");
    assert_eq!(failure("export default () => () => 1").class, Class::Output);
    assert_eq!(failure("export default () => 10n ** 3n").class, Class::Output);
}

#[test]
fn the_world_has_nothing_but_what_it_should() {
    let names = text(
        "return typeof require + typeof process + typeof Deno + typeof std + typeof os + typeof __request + typeof WebAssembly",
    );
    assert_eq!(names, "undefined".repeat(7));
    assert_eq!(text("return new TextDecoder().decode(new TextEncoder().encode('añ€😀'))"), "añ€😀");
    assert_eq!(
        text("return new TextDecoder().decode(new Uint8Array([0xc0, 0x80, 0xed, 0xa0, 0x80, 65]))"),
        "\u{fffd}\u{fffd}\u{fffd}A"
    );
    assert_eq!(text("return new URLSearchParams({ q: 'a b&c=ü', r: 1 }).toString()"), "q=a+b%26c%3D%C3%BC&r=1");
    assert_eq!(text("return new URLSearchParams('?a=1&b=x%20y+z').get('b')"), "x y z");
    assert_eq!(text("await new Promise((r) => setTimeout(r, 5)); return 'later'"), "later");
    let uuid = text("return crypto.randomUUID()");
    assert!(uuid.len() == 36 && uuid.as_bytes()[14] == b'4', "{uuid}");
}

#[test]
fn copies_are_not_alike_and_leave_nothing() {
    let code =
        "globalThis.left = (globalThis.left ?? 0) + 1; Array.prototype.left = 1; return globalThis.left + ' ' + Math.random()";
    let (first, second) = (text(code), text(code));
    assert!(first.starts_with("1 ") && second.starts_with("1 ") && first != second, "{first} {second}");
}

#[test]
fn requests_go_out_side_by_side() {
    let code =
        "const all = await Promise.all(['a', 'b'].map((body) => fetch('https://x.example/' + body, { method: 'post', body })));
        return (await Promise.all(all.map((one) => one.text()))).join() + all[1].headers.get('X-Url') + all[0].ok";
    assert_eq!(text(code), "POST a,POST bhttps://x.example/btrue");
    let flood = ran("export default async () => { for (;;) await fetch('https://x.example/'); }", "{}");
    assert!(
        matches!(&flood.outcome, Outcome::Failed(failure) if failure.message.contains("at most 32") && failure.line == Some(1)),
        "{flood:?}"
    );
    assert_eq!(flood.requests, 32);
}

#[test]
fn attacks_end_at_their_limits() {
    for (name, code, expected) in [
        ("loop", "export default () => { for (;;); }", Class::Timeout),
        ("top level loop", "for (;;);", Class::Timeout),
        ("microtasks", "export default async () => { for (;;) await null; }", Class::Timeout),
        ("waiting", "export default () => new Promise((r) => setTimeout(r, 1e12))", Class::Timeout),
        ("timers", "export default () => new Promise(() => { const f = () => setTimeout(f, 0); f(); })", Class::Timeout),
        ("allocation", "export default () => { const all = []; for (;;) all.push(new Array(1e5).fill(1.5)); }", Class::Memory),
        ("buffer", "export default () => new Uint8Array(1e9).length", Class::Memory),
        ("string", "export default () => { let s = 'x'; for (;;) s += s; }", Class::Threw),
        ("recursion", "const f = () => f() + 1; export default f", Class::Threw),
        ("json", "let v = []; for (let i = 0; i < 1e5; i++) v = [v]; export default () => JSON.stringify(v)", Class::Threw),
        ("regex", "export default () => /^(a+)+$/.test('a'.repeat(40) + 'b')", Class::Timeout),
        ("output", "export default () => 'x'.repeat(2 ** 21)", Class::Output),
        (
            "sort",
            "export default () => { const a = Array.from({ length: 1e4 }, (_, i) => -i); for (;;) a.sort((x, y) => y - x); }",
            Class::Timeout,
        ),
    ] {
        let began = Instant::now();
        let failure = failure(code);
        assert_eq!(failure.class, expected, "{name}: {failure:?}");
        assert!(began.elapsed() < Duration::from_secs(10), "{name} took {:?}", began.elapsed());
    }
    assert_eq!(text("return 'still here'"), "still here");
}

#[test]
fn logs_are_kept_up_to_their_bound() {
    let done = ran(
        "export default () => { console.warn('a', { b: 1 }, [2], new Error('c')); for (let i = 0; i < 5000; i++) console.log('x'.repeat(500)); }",
        "{}",
    );
    assert_eq!((done.logs[0].level.as_str(), done.logs[0].text.as_str()), ("warn", "a {\"b\":1} [2] Error: c"));
    let bytes: usize = done.logs.iter().map(|line| line.text.len()).sum();
    assert!(bytes <= limits::LOG_BYTES && done.lost_lines as usize + done.logs.len() == 5001, "{bytes} {}", done.lost_lines);
}
