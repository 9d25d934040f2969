//! Styles as the tables of OpenAPI 3.1.1 have them, and arguments that try to leave their place.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::catalog::{AnswerShape, Body, FieldStyle, LAYOUT, Piece, Style};

fn input(name: &str, place: InputPlace, style: Style, explode: bool) -> Input {
    Input { argument: name.into(), name: name.into(), place, style, explode, allow_reserved: false, json: false }
}

fn operation(inputs: Vec<Input>) -> Operation {
    let mut path = vec![vec![Piece::Literal("x".into())]];
    path.extend(
        inputs.iter().enumerate().filter(|(_, input)| input.place == InputPlace::Path).map(|(at, _)| vec![Piece::Input(at)]),
    );
    Operation {
        layout: LAYOUT,
        method: OperationMethod::Post,
        origin: "https://a.example".into(),
        path,
        query: Vec::new(),
        inputs,
        body: None,
        accept: "*/*".into(),
        security: Vec::new(),
        answer: AnswerShape::default(),
        timeout_ms: 1000,
        defaults: serde_json::Map::new(),
        fixed: serde_json::Map::new(),
    }
}

fn url_of(style: Style, place: InputPlace, explode: bool, value: &Value) -> String {
    let operation = operation(vec![input("color", place, style, explode)]);
    let url = build(&operation, json!({ "color": value }).as_object().expect("object")).expect("built").url;
    url.as_str().trim_start_matches("https://a.example/x").trim_start_matches(['/', '?']).to_owned()
}

#[test]
fn path_styles_are_those_of_the_specification() {
    let (one, list, object) = (json!("blue"), json!(["blue", "black", "brown"]), json!({ "R": 100, "G": 200, "B": 150 }));
    for (style, explode, expected) in [
        (Style::Simple, false, ["blue", "blue,black,brown", "B,150,G,200,R,100"]),
        (Style::Simple, true, ["blue", "blue,black,brown", "B=150,G=200,R=100"]),
        (Style::Label, false, [".blue", ".blue,black,brown", ".B,150,G,200,R,100"]),
        (Style::Label, true, [".blue", ".blue.black.brown", ".B=150.G=200.R=100"]),
        (Style::Matrix, false, [";color=blue", ";color=blue,black,brown", ";color=B,150,G,200,R,100"]),
        (Style::Matrix, true, [";color=blue", ";color=blue;color=black;color=brown", ";B=150;G=200;R=100"]),
    ] {
        let written = [&one, &list, &object].map(|value| url_of(style, InputPlace::Path, explode, value));
        assert_eq!(written, expected, "{style:?} {explode}");
    }
    assert_eq!(url_of(Style::Matrix, InputPlace::Path, false, &json!("")), ";color");
}

#[test]
fn query_styles_are_those_of_the_specification() {
    let (list, object) = (json!(["blue", "black", "brown"]), json!({ "R": 100, "G": 200, "B": 150 }));
    for (style, explode, expected) in [
        (Style::Form, false, ["color=blue,black,brown", "color=B,150,G,200,R,100"]),
        (Style::Form, true, ["color=blue&color=black&color=brown", "B=150&G=200&R=100"]),
        (Style::SpaceDelimited, false, ["color=blue%20black%20brown", "color=B%20150%20G%20200%20R%20100"]),
        (Style::PipeDelimited, false, ["color=blue%7Cblack%7Cbrown", "color=B%7C150%7CG%7C200%7CR%7C100"]),
        (
            Style::DeepObject,
            true,
            ["color%5B0%5D=blue&color%5B1%5D=black&color%5B2%5D=brown", "color%5BB%5D=150&color%5BG%5D=200&color%5BR%5D=100"],
        ),
    ] {
        let written = [&list, &object].map(|value| url_of(style, InputPlace::Query, explode, value));
        assert_eq!(written, expected, "{style:?} {explode}");
    }
    assert_eq!(url_of(Style::Form, InputPlace::Query, true, &json!("")), "color=");
    assert_eq!(url_of(Style::Form, InputPlace::Query, true, &json!("a&b=c#d/ä+ ")), "color=a%26b%3Dc%23d%2F%C3%A4%2B%20");
    let reserved = Input { allow_reserved: true, ..input("q", InputPlace::Query, Style::Form, true) };
    let built = build(&operation(vec![reserved]), json!({ "q": "a/b:c&d=e#f%2e[" }).as_object().expect("object")).expect("built");
    assert_eq!(built.url.query(), Some("q=a/b:c%26d%3De%23f%252e%5B"));
}

#[test]
fn headers_and_cookies_hold_what_was_given() {
    let operation = operation(vec![
        input("X-List", InputPlace::Header, Style::Simple, false),
        input("sid", InputPlace::Cookie, Style::Form, true),
    ]);
    let built =
        build(&operation, json!({ "X-List": ["a", "b"], "sid": "x; admin=1" }).as_object().expect("object")).expect("built");
    assert_eq!(
        (&built.headers["x-list"], &built.headers["cookie"]),
        (&HeaderValue::from_static("a,b"), &HeaderValue::from_static("sid=x%3B%20admin%3D1"))
    );
}

/// E-20, E-21, E-23: an argument stays where it belongs.
#[test]
fn e20_arguments_never_leave_their_segment() {
    let operation =
        operation(vec![input("id", InputPlace::Path, Style::Simple, false), input("q", InputPlace::Query, Style::Form, true)]);
    for id in [
        "../admin",
        "a/b",
        "a%2fb",
        "%2e%2e",
        "a?b#c",
        "//evil.example",
        "@evil.example",
        "a\\b",
        "a;b",
        "\r\nX: y",
        "\0",
        "https://evil.example/",
        "\u{ff0e}\u{ff0e}",
    ] {
        let url = build(&operation, json!({ "id": id, "q": id }).as_object().expect("object")).expect("built").url;
        assert_eq!(url.origin().ascii_serialization(), "https://a.example");
        assert_eq!(url.path_segments().map(Iterator::count), Some(2), "{id:?} {url}");
        assert_eq!(url.query_pairs().collect::<Vec<_>>(), [("q".into(), id.into())], "{url}");
    }
    for id in ["", ".", ".."] {
        assert!(build(&operation, json!({ "id": id }).as_object().expect("object")).is_err(), "{id:?}");
    }
    assert!(build(&operation, json!({}).as_object().expect("object")).is_err(), "missing");
}

/// E-22: a header is one line of visible characters.
#[test]
fn e22_headers_are_one_line() {
    let operation = operation(vec![input("X-A", InputPlace::Header, Style::Simple, false)]);
    for value in ["a\r\nEvil: 1", "a\nb", "a\0b", "ä"] {
        assert!(build(&operation, json!({ "X-A": value }).as_object().expect("object")).is_err(), "{value:?}");
    }
}

#[test]
fn e21_members_of_an_object_are_no_other_parameters() {
    let mut operation = operation(vec![
        input("filter", InputPlace::Query, Style::Form, true),
        input("limit", InputPlace::Query, Style::Form, true),
    ]);
    operation.query = vec![("action".into(), "list".into())];
    operation.security = vec![crate::catalog::Proof { scheme: "k".into(), carrier: Carrier::Query { name: "key".into() } }];
    for name in ["action", "limit", "key", "filter"] {
        assert!(build(&operation, json!({ "filter": { name: "x" } }).as_object().expect("object")).is_err(), "{name}");
    }
    let built = build(&operation, json!({ "filter": { "a": "x" }, "limit": 5 }).as_object().expect("object")).expect("built");
    assert_eq!(built.url.query(), Some("action=list&a=x&limit=5"));
}

#[test]
fn bodies_are_written_by_serialisers() {
    let body = |kind: Body, value: Value| {
        let operation = Operation { body: Some(kind), ..operation(Vec::new()) };
        let built = build(&operation, json!({ "body": value }).as_object().expect("object")).expect("built");
        (
            built.headers["content-type"].to_str().expect("text").to_owned(),
            String::from_utf8(built.body.expect("body").into()).expect("text"),
        )
    };
    let json_body = body(Body::Json { media_type: "application/json".into() }, json!({ "a": "\"}" }));
    assert_eq!(json_body, ("application/json".into(), r#"{"a":"\"}"}"#.into()));
    let fields = BTreeMap::from([("m".to_owned(), FieldStyle { style: Style::DeepObject, explode: true })]);
    let form = body(Body::Form { fields }, json!({ "a": ["1", "x&y"], "m": { "k": { "l": 1 } }, "o": { "b": 2 } }));
    assert_eq!(form.1, "a=1&a=x%26y&m%5Bk%5D%5Bl%5D=1&o=%7B%22b%22%3A2%7D");
    let files = BTreeMap::from([("f".to_owned(), "image/png".to_owned())]);
    let (kind, text) = body(Body::Multipart { files }, json!({ "a\"\r\n": "b", "f": "aGk=" }));
    let boundary = kind.strip_prefix("multipart/form-data; boundary=").expect("boundary");
    let expected = format!(
        "--{boundary}\r\nContent-Disposition: form-data; name=\"a%22%0D%0A\"\r\n\r\nb\r\n--{boundary}\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f\"\r\nContent-Type: image/png\r\n\r\nhi\r\n--{boundary}--\r\n"
    );
    assert_eq!(text, expected);
    assert_eq!(
        body(Body::Binary { media_type: "application/pdf".into() }, json!("aGk=")),
        ("application/pdf".into(), "hi".into())
    );
    assert_eq!(body(Body::Text { media_type: "text/plain".into() }, json!("hi")), ("text/plain".into(), "hi".into()));
}

#[test]
fn secrets_are_carried_where_the_description_says() {
    let request = build(&operation(Vec::new()), &Map::new()).expect("built");
    let proof = |scheme: &str, carrier| crate::catalog::Proof { scheme: scheme.into(), carrier };
    let operation = Operation {
        security: vec![
            proof("b", Carrier::Basic),
            proof("h", Carrier::Header { name: "X-Key".into() }),
            proof("q", Carrier::Query { name: "key".into() }),
            proof("c", Carrier::Cookie { name: "sid".into() }),
            proof("none", Carrier::Bearer),
        ],
        ..operation(Vec::new())
    };
    let secrets = [("b", "u:p"), ("h", "1"), ("q", "a&b"), ("c", "x;y")].map(|(k, v)| (k.to_owned(), v.to_owned())).into();
    let request = prove(request, &operation, &secrets, None).expect("proven");
    let header = |name: &str| request.headers[name].to_str().expect("text").to_owned();
    assert_eq!(
        (header("authorization"), header("x-key"), header("cookie")),
        ("Basic dTpw".into(), "1".into(), "sid=x%3By".into())
    );
    assert_eq!(request.url.query(), Some("key=a%26b"));
    assert!(!format!("{request:?}").contains("dTpw"));
}
