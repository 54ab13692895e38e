//! What the environment says about traces. The exporter reads its address and its headers itself.

use std::time::Duration;

/// The settings that textback reads itself.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Settings {
    /// The share of the traces that are kept, from 0 to 1.
    pub share: f64,
    /// The name of the service, unless the environment names it.
    pub names_service: bool,
    /// How many spans may wait for their export.
    pub queue: usize,
    /// How long a request to the collector may take.
    pub timeout: Duration,
}

/// The default of the specification for `OTEL_BSP_MAX_QUEUE_SIZE`.
const QUEUE: usize = 2048;
/// The default of the specification for `OTEL_EXPORTER_OTLP_TIMEOUT`, in milliseconds.
const TIMEOUT: u64 = 10_000;

impl Settings {
    /// The settings of this process. `None` if no traces are to be exported.
    pub fn of_environment() -> Option<Self> {
        let (settings, mistake) = Self::of(|name| std::env::var(name).ok())?;
        if let Some(mistake) = mistake {
            tracing::warn!(error = %mistake, "a variable of traces was not understood");
        }
        Some(settings)
    }

    /// The settings, and what is wrong with a variable.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<(Self, Option<String>)> {
        // An empty variable is the same as none, by the specification.
        let given = |name: &str| variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let has_address =
            given("OTEL_EXPORTER_OTLP_ENDPOINT").or_else(|| given("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")).is_some();
        let is_disabled = given("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
            || given("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
        if !has_address || is_disabled {
            return None;
        }
        let (share, mistake) = share(given("OTEL_TRACES_SAMPLER"), given("OTEL_TRACES_SAMPLER_ARG"));
        let timeout = given("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT").or_else(|| given("OTEL_EXPORTER_OTLP_TIMEOUT"));
        let has_name = |list: String| list.split(',').any(|pair| pair.trim_start().starts_with("service.name="));
        let settings = Self {
            share,
            names_service: given("OTEL_SERVICE_NAME").is_none()
                && !given("OTEL_RESOURCE_ATTRIBUTES").is_some_and(has_name),
            queue: given("OTEL_BSP_MAX_QUEUE_SIZE").and_then(|value| value.parse().ok()).unwrap_or(QUEUE).max(1),
            timeout: Duration::from_millis(timeout.and_then(|value| value.parse().ok()).unwrap_or(TIMEOUT)),
        };
        Some((settings, mistake))
    }
}

/// The share of the traces that a sampler keeps. The traces of textback begin in textback, so a
/// sampler decides the same with `parentbased_` and without it.
fn share(sampler: Option<String>, argument: Option<String>) -> (f64, Option<String>) {
    let Some(sampler) = sampler else { return (1.0, None) };
    match sampler.strip_prefix("parentbased_").unwrap_or(&sampler) {
        "always_on" => (1.0, None),
        "always_off" => (0.0, None),
        "traceidratio" => match argument.as_deref().map(str::parse::<f64>) {
            None => (1.0, None),
            Some(Ok(share)) if (0.0..=1.0).contains(&share) => (share, None),
            Some(_) => (1.0, Some("OTEL_TRACES_SAMPLER_ARG is not used: give a number from 0 to 1".to_owned())),
        },
        _ => {
            let known = "always_on, always_off and traceidratio, each also after parentbased_";
            (1.0, Some(format!("OTEL_TRACES_SAMPLER is not used: textback knows {known}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Option<(Settings, Option<String>)> {
        Settings::of(|name| variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn traces_are_off_without_an_address() {
        let address = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318");
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]), None);
        assert_eq!(of(&[address, ("OTEL_SDK_DISABLED", "TRUE")]), None);
        assert_eq!(of(&[address, ("OTEL_TRACES_EXPORTER", "none")]), None);
        let expected = Settings { share: 1.0, names_service: true, queue: 2048, timeout: Duration::from_secs(10) };
        assert_eq!(of(&[address]), Some((expected.clone(), None)));
        assert_eq!(of(&[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://x")]), Some((expected, None)));
    }

    #[test]
    fn a_sampler_keeps_a_share_of_the_traces() {
        for (sampler, argument, expected, is_right) in [
            ("always_on", "", 1.0, true),
            ("parentbased_always_off", "", 0.0, true),
            ("traceidratio", "0.25", 0.25, true),
            ("parentbased_traceidratio", "0", 0.0, true),
            ("parentbased_traceidratio", "", 1.0, true),
            ("traceidratio", "2", 1.0, false),
            ("traceidratio", "half", 1.0, false),
            ("jaeger_remote", "", 1.0, false),
        ] {
            let variables = [
                ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x"),
                ("OTEL_TRACES_SAMPLER", sampler),
                ("OTEL_TRACES_SAMPLER_ARG", argument),
            ];
            let (settings, mistake) = of(&variables).expect("on");
            assert_eq!((settings.share, mistake.is_none()), (expected, is_right), "{sampler} {argument}: {mistake:?}");
        }
    }

    #[test]
    fn the_environment_may_name_the_service() {
        let address = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://x");
        let names = |more: (&'static str, &'static str)| of(&[address, more]).expect("on").0.names_service;
        assert!(!names(("OTEL_SERVICE_NAME", "texts")));
        assert!(!names(("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=texts")));
        assert!(names(("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=live")));
    }
}
