//! The form of a tool as text: what stands in its fields, whether it comes from a tool or from a form that was sent.

use serde_json::Value;
use trunkline_platform::{
    catalog::{
        self, AnswerShape, Builtin, Executor, FunctionTool, HttpMethod, HttpTool, MAX_PARAMETERS, NewVersion, Origin, Parameter,
        ParameterType, Place, Price, SecretChange, Tool, UrlTemplate,
    },
    quota::{
        Limit, Rate, ToolLimits,
        limits::{parse_at_once, parse_per_day, parse_rate},
    },
    secret::Plaintext,
};
use trunkline_protocol::oauth::scope::Effect;

use crate::{
    dashboard::format,
    error::HtmlError,
    extract::{FieldErrors, Fields},
};

/// What a new function begins with.
const STARTER: &str = "\
// The default export is the tool. It gets the agent's arguments, and gives a text or an object.
export default async function (input) {
  console.log(\"called with\", input);
  return { greeting: `Hello, ${input.name}!` };
}
";
const STARTER_SCHEMA: &str = "\
{
  \"type\": \"object\",
  \"properties\": {
    \"name\": { \"type\": \"string\", \"description\": \"Whom to greet.\" }
  },
  \"required\": [\"name\"],
  \"additionalProperties\": false
}";

/// What stands in the fields. The secret is not among them: it goes in and never comes back.
#[derive(Default)]
pub(super) struct Draft {
    pub(super) name: String,
    pub(super) title: String,
    pub(super) description: String,
    pub(super) effect: String,
    pub(super) kind: String,
    pub(super) builtin: String,
    pub(super) method: String,
    pub(super) url: String,
    pub(super) parameters: Vec<DraftParameter>,
    pub(super) secret_header: String,
    pub(super) timeout_ms: String,
    pub(super) select: String,
    pub(super) max_bytes: String,
    pub(super) output_schema: String,
    pub(super) code: String,
    pub(super) input_schema: String,
    pub(super) hosts: String,
    pub(super) keep_logs: bool,
    /// Input of a test run; belongs to no version.
    pub(super) example: String,
    pub(super) price: String,
    pub(super) price_kib: String,
    pub(super) price_second: String,
    pub(super) price_reported: String,
    pub(super) per_minute: String,
    pub(super) burst: String,
    pub(super) each_per_minute: String,
    pub(super) each_burst: String,
    pub(super) per_day: String,
    pub(super) at_once: String,
}

/// What stands in one row of the parameters.
#[derive(Default)]
pub(super) struct DraftParameter {
    pub(super) name: String,
    pub(super) place: String,
    pub(super) kind: String,
    pub(super) required: bool,
    pub(super) description: String,
    pub(super) default: String,
    pub(super) error: String,
}

impl Draft {
    /// An HTTP tool that still has to be described.
    pub(super) fn new() -> Self {
        Self {
            effect: "read".to_owned(),
            kind: "http".to_owned(),
            timeout_ms: "10000".to_owned(),
            code: STARTER.to_owned(),
            input_schema: STARTER_SCHEMA.to_owned(),
            example: "{\n  \"name\": \"Ada\"\n}".to_owned(),
            ..Self::default()
        }
    }

    /// The published version of a tool.
    pub(super) fn of(tool: &Tool, limits: ToolLimits) -> Self {
        let version = &tool.version;
        let number = |rate: Option<Rate>, of: fn(Rate) -> u32| rate.map(|rate| of(rate).to_string()).unwrap_or_default();
        // Nothing is an empty field.
        let amount = |micro: i64| if micro == 0 { String::new() } else { format::price_input(micro) };
        let common = Self {
            name: tool.name.to_string(),
            title: version.title.clone(),
            description: version.description.clone(),
            effect: version.effect.as_str().to_owned(),
            price: amount(version.price.call_micro),
            price_kib: amount(version.price.kib_micro),
            price_second: amount(version.price.second_micro),
            price_reported: amount(version.price.reported_micro),
            per_minute: number(limits.total.rate, |rate| rate.per_minute),
            burst: number(limits.total.rate, |rate| rate.burst),
            each_per_minute: number(limits.each_agent, |rate| rate.per_minute),
            each_burst: number(limits.each_agent, |rate| rate.burst),
            per_day: limits.total.per_day.map(|most| most.to_string()).unwrap_or_default(),
            at_once: limits.total.at_once.map(|most| most.to_string()).unwrap_or_default(),
            ..Self::new()
        };
        match &version.executor {
            Executor::Builtin { name } => Self { kind: "builtin".to_owned(), builtin: name.as_str().to_owned(), ..common },
            Executor::Http(http) => Self {
                method: http.method.as_str().to_owned(),
                url: http.url.as_str().to_owned(),
                parameters: http.parameters.iter().map(DraftParameter::of).collect(),
                secret_header: http.secret_header.clone().unwrap_or_default(),
                timeout_ms: http.timeout_ms.to_string(),
                select: http.answer.select.clone().unwrap_or_default(),
                max_bytes: http.answer.max_bytes.map(|most| most.to_string()).unwrap_or_default(),
                output_schema: http.answer.output_schema.as_ref().map(|schema| format!("{schema:#}")).unwrap_or_default(),
                ..common
            },
            Executor::Function(function) => Self {
                kind: "function".to_owned(),
                code: function.code.clone(),
                input_schema: format!("{:#}", function.input_schema),
                keep_logs: function.keep_logs,
                hosts: function.hosts.iter().map(Origin::brief).collect::<Vec<_>>().join("\n"),
                example: format!("{:#}", example(&function.input_schema)),
                secret_header: function.secret_header.clone().unwrap_or_default(),
                timeout_ms: function.timeout_ms.to_string(),
                ..common
            },
            Executor::Upstream { .. } | Executor::Operation(_) => Self { kind: "upstream".to_owned(), ..common },
        }
    }

    /// What was sent. Rows of parameters without a name are left out.
    pub(super) fn read(form: &Fields) -> Self {
        let text = |field: &str| form.get(field).to_owned();
        let lines = |field: &str| form.exactly(field).replace("\r\n", "\n");
        // Both halves of the form have these, and without a script both are sent.
        let of_function = text("kind") == "function";
        let of_half = |field: &str| if of_function { text(&format!("function_{field}")) } else { text(field) };
        Self {
            name: text("name"),
            title: text("title"),
            // Browsers send line ends as CR LF.
            description: text("description").replace("\r\n", "\n"),
            effect: text("effect"),
            kind: text("kind"),
            builtin: text("builtin"),
            method: text("method"),
            url: text("url"),
            parameters: (0..MAX_PARAMETERS).filter_map(|row| DraftParameter::read(form, row)).collect(),
            secret_header: of_half("secret_header"),
            timeout_ms: of_half("timeout_ms"),
            select: text("select"),
            max_bytes: text("max_bytes"),
            output_schema: lines("output_schema"),
            code: lines("code"),
            input_schema: lines("input_schema"),
            hosts: lines("hosts"),
            keep_logs: !form.get("keep_logs").is_empty(),
            example: lines("example"),
            price: text("price"),
            price_kib: text("price_kib"),
            price_second: text("price_second"),
            price_reported: text("price_reported"),
            per_minute: text("per_minute"),
            burst: text("burst"),
            each_per_minute: text("each_per_minute"),
            each_burst: text("each_burst"),
            per_day: text("per_day"),
            at_once: text("at_once"),
        }
    }

    /// Reads the fields as a version. What does not fit goes to the errors, all at once.
    pub(super) fn parse(&mut self, secret: &str, errors: &mut FieldErrors) -> Result<Option<NewVersion>, HtmlError> {
        let effect = self.effect.parse::<Effect>().ok();
        if effect.is_none() {
            errors.add("effect", "choose one");
        }
        let executor = match self.kind.as_str() {
            "builtin" => errors.take(self.builtin.parse::<Builtin>())?.map(|name| Executor::Builtin { name }),
            "http" => self.parse_http(errors)?.map(Executor::Http),
            "function" => self.parse_function(errors)?.map(Executor::Function),
            _ => {
                errors.add("kind", "choose one");
                None
            }
        };
        let terms = self.parse_terms(errors)?;
        let (Some(effect), Some(executor), Some((price, limits))) = (effect, executor, terms) else {
            return Ok(None);
        };
        Ok(Some(NewVersion {
            title: self.title.clone(),
            description: self.description.clone(),
            effect,
            executor,
            secret: if secret.is_empty() { SecretChange::Keep } else { SecretChange::Set(Plaintext::new(secret.to_owned())) },
            price,
            limits: Some(limits),
        }))
    }

    /// Reads what can be said of a tool whose definition comes from its source: its price and its limits.
    pub(super) fn parse_terms(&self, errors: &mut FieldErrors) -> Result<Option<(Price, ToolLimits)>, HtmlError> {
        let mut amount = |field, text| errors.take(catalog::parse_price(field, text));
        let parts = (
            amount("price", &self.price)?,
            amount("price_kib", &self.price_kib)?,
            amount("price_second", &self.price_second)?,
            amount("price_reported", &self.price_reported)?,
        );
        let price = match parts {
            (Some(call_micro), Some(kib_micro), Some(second_micro), Some(reported_micro)) => {
                Some(Price { call_micro, kib_micro, second_micro, reported_micro })
            }
            _ => None,
        };
        let rate = errors.take(parse_rate("", &self.per_minute, &self.burst))?;
        let per_day = errors.take(parse_per_day("per_day", &self.per_day))?;
        let at_once = errors.take(parse_at_once("at_once", &self.at_once))?;
        let each_agent = errors.take(parse_rate("each_", &self.each_per_minute, &self.each_burst))?;
        let (Some(price), Some(rate), Some(per_day), Some(at_once), Some(each_agent)) =
            (price, rate, per_day, at_once, each_agent)
        else {
            return Ok(None);
        };
        Ok(Some((price, ToolLimits { total: Limit { rate, per_day, at_once }, each_agent })))
    }

    /// Reads the half of the form that is about code.
    pub(super) fn parse_function(&self, errors: &mut FieldErrors) -> Result<Option<FunctionTool>, HtmlError> {
        let timeout_ms = self.timeout_ms.parse::<u32>().ok();
        if timeout_ms.is_none() {
            errors.add("timeout_ms", "expected 100 to 60000 milliseconds");
        }
        let input_schema = errors.take(FunctionTool::parse_schema(&self.input_schema))?;
        let named = self.hosts.split([',', '\n']).map(str::trim).filter(|host| !host.is_empty());
        let hosts = errors.take(named.map(Origin::parse).collect())?;
        let (Some(timeout_ms), Some(input_schema), Some(hosts)) = (timeout_ms, input_schema, hosts) else { return Ok(None) };
        let secret_header = Some(self.secret_header.clone()).filter(|name| !name.is_empty());
        let (code, keep_logs) = (self.code.clone(), self.keep_logs);
        Ok(Some(FunctionTool { code, input_schema, hosts, secret_header, timeout_ms, keep_logs }))
    }

    fn parse_http(&mut self, errors: &mut FieldErrors) -> Result<Option<HttpTool>, HtmlError> {
        let method = errors.take(self.method.parse::<HttpMethod>())?;
        let url = errors.take(UrlTemplate::parse(&self.url))?;
        let timeout_ms = self.timeout_ms.parse::<u32>().ok();
        if timeout_ms.is_none() {
            errors.add("timeout_ms", "expected 100 to 60000 milliseconds");
        }
        let mut parameters = Vec::new();
        for row in &mut self.parameters {
            match row.parse() {
                Ok(parameter) => parameters.push(parameter),
                Err(message) => {
                    errors.add("parameters", format!("`{}`: {message}", row.name));
                    row.error = message;
                }
            }
        }
        let answer = self.parse_answer(errors)?;
        let (Some(method), Some(url), Some(timeout_ms), Some(answer), true) =
            (method, url, timeout_ms, answer, parameters.len() == self.parameters.len())
        else {
            return Ok(None);
        };
        let secret_header = Some(self.secret_header.clone()).filter(|name| !name.is_empty());
        Ok(Some(HttpTool { method, url, parameters, secret_header, timeout_ms, answer }))
    }

    /// Reads what is said of the answer; nothing is an empty field.
    fn parse_answer(&self, errors: &mut FieldErrors) -> Result<Option<AnswerShape>, HtmlError> {
        let max_bytes = match self.max_bytes.as_str() {
            "" => Some(None),
            text => text.parse().ok().map(Some),
        };
        if max_bytes.is_none() {
            errors.add("max_bytes", "expected a number of bytes, or nothing");
        }
        let output_schema = errors.take(AnswerShape::parse_schema(&self.output_schema))?;
        let (Some(max_bytes), Some(output_schema)) = (max_bytes, output_schema) else { return Ok(None) };
        let select = Some(self.select.clone()).filter(|select| !select.is_empty());
        let shape = AnswerShape { select, max_bytes, output_schema };
        Ok(errors.take(shape.check())?.map(|()| shape))
    }
}

impl DraftParameter {
    fn of(parameter: &Parameter) -> Self {
        Self {
            name: parameter.name.clone(),
            place: parameter.place.as_str().to_owned(),
            kind: parameter.kind.as_str().to_owned(),
            required: parameter.required,
            description: parameter.description.clone(),
            default: match &parameter.default {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            },
            error: String::new(),
        }
    }

    fn read(form: &Fields, row: usize) -> Option<Self> {
        let text = |part: &str| form.get(&format!("parameter_{row}_{part}")).to_owned();
        Some(text("name")).filter(|name| !name.is_empty()).map(|name| Self {
            name,
            place: text("in"),
            kind: text("type"),
            required: !text("required").is_empty(),
            description: text("description"),
            default: text("default"),
            error: String::new(),
        })
    }

    /// Reads the row; the failure is for the person who filled it in.
    fn parse(&self) -> Result<Parameter, String> {
        let place = self.place.parse::<Place>().map_err(|_| "choose where it goes".to_owned())?;
        let kind = self.kind.parse::<ParameterType>().map_err(|_| "choose its type".to_owned())?;
        let default = match (self.default.as_str(), kind) {
            ("", _) => None,
            (text, ParameterType::String) => Some(Value::String(text.to_owned())),
            (text, kind) => {
                let wrong = || format!("the default must be JSON that is {}", article(kind.as_str()));
                Some(serde_json::from_str(text).map_err(|_| wrong())?)
            }
        };
        Ok(Parameter {
            name: self.name.clone(),
            place,
            kind,
            required: self.required,
            description: self.description.clone(),
            default,
        })
    }
}

/// The word with its article.
pub(super) fn article(word: &str) -> String {
    let article = if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {word}")
}

/// An input that has about the shape of the schema: what it gives as examples and defaults, and else something of the type.
fn example(schema: &Value) -> Value {
    let given = schema["examples"].get(0).or_else(|| schema.get("default")).or_else(|| schema["enum"].get(0));
    if let Some(given) = given {
        return given.clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let required: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            let properties = schema["properties"].as_object().into_iter().flatten();
            let wanted = properties.filter(|(name, _)| required.contains(&name.as_str()));
            Value::Object(wanted.map(|(name, schema)| (name.clone(), example(schema))).collect())
        }
        Some("array") => Value::Array(Vec::new()),
        Some("integer" | "number") => schema.get("minimum").cloned().unwrap_or_else(|| 0.into()),
        Some("boolean") => false.into(),
        Some("null") => Value::Null,
        _ => Value::String(String::new()),
    }
}
