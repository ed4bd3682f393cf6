//! Programs that watch the proxy: what they fetch says nothing about a server.

use http::{HeaderMap, HeaderValue, header};

/// How the products and comments of a monitor's `User-Agent` begin, in small letters. Each stands for all of its versions.
const MONITORS: [&str; 35] = [
    // This proxy's own commands, and one that is in front of another.
    "catalog-proxy/",
    // Orchestrators and balancers.
    "kube-probe/",
    "haproxy",
    "elb-healthchecker/",
    "amazon-route53-health-check-service",
    "googlehc/",
    "googlestackdrivermonitoring",
    "cloudflare-healthchecks",
    "cloudflare-traffic-manager",
    "consul health check",
    "envoy/hc",
    "traefik",
    // Monitoring that one runs.
    "blackbox exporter",
    "blackbox-exporter",
    "prometheus/",
    "check_http",
    "check_curl",
    "monitoring-plugins",
    "nagios",
    "icinga",
    "zabbix",
    "uptime-kuma/",
    "gatus/",
    "monit/",
    "telegraf/",
    "checkmk",
    // Monitoring as a service.
    "pingdom",
    "statuscake",
    "uptimerobot/",
    "datadog",
    "better uptime",
    "site24x7",
    "newrelicpinger/",
    "hetrixtools",
    "updown.io",
];

/// Longest part of a `User-Agent` that is looked at, in bytes: those of browsers have some 150.
const MAX_LEN: usize = 256;

/// Returns true if a request comes from a program that watches the proxy, by its `User-Agent`.
pub fn is_monitor(headers: &HeaderMap) -> bool {
    headers.get(header::USER_AGENT).is_some_and(names_monitor)
}

fn names_monitor(agent: &HeaderValue) -> bool {
    let agent = agent.as_bytes();
    let agent = &agent[..agent.len().min(MAX_LEN)];
    // Where a product or a comment begins; some write a plus for a blank.
    let is_gap = |byte: u8| matches!(byte, b' ' | b'+' | b'(' | b';' | b',');
    let starts = (0..agent.len()).filter(|at| at.checked_sub(1).is_none_or(|before| is_gap(agent[before])));
    let begins = |text: &[u8], name: &str| {
        text.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name.as_bytes()))
    };
    starts.map(|at| &agent[at..]).any(|text| MONITORS.iter().any(|name| begins(text, name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monitors_are_known_by_their_names() {
        let check = |agent: &str, expected: bool| {
            let agent = HeaderValue::from_bytes(agent.as_bytes()).expect("a value");
            assert_eq!(names_monitor(&agent), expected, "{agent:?}");
        };
        for agent in [
            "kube-probe/1.31",
            "Blackbox Exporter/0.25.0",
            "Blackbox-Exporter/0.19.0",
            "Prometheus/2.54.1",
            "check_http/v2.3.5 (monitoring-plugins 2.3.5)",
            "check_http/v2.2.git (nagios-plugins 2.2.git)",
            "check_curl/v2.4.0 (monitoring-plugins 2.4.0, libcurl/8.9.1)",
            "Nagios",
            "Icinga/2.14",
            "Zabbix",
            "Zabbix 7.0.3",
            "Uptime-Kuma/1.23.13",
            "Pingdom.com_bot_version_1.4_(http://www.pingdom.com/)",
            "Mozilla/5.0 (compatible; PingdomPageSpeed/1.0; pingbot/2.0; +http://www.pingdom.com/)",
            "Mozilla/5.0 (Windows NT 6.2; WOW64) AppleWebKit/537.36 StatusCake",
            "Mozilla/5.0+(compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
            "Datadog/Synthetics",
            "DatadogSynthetics",
            "GoogleHC/1.0",
            "GoogleStackdriverMonitoring-UptimeChecks(https://cloud.google.com/monitoring)",
            "ELB-HealthChecker/2.0",
            "Amazon-Route53-Health-Check-Service (ref 1234; report http://amzn.to/1vsZADi)",
            "HAProxy",
            "Consul Health Check",
            "Envoy/HC",
            "Monit/5.33.0",
            "Better Uptime Bot Mozilla/5.0",
            "catalog-proxy/0.1.0",
            concat!("catalog-proxy/", env!("CARGO_PKG_VERSION")),
        ] {
            check(agent, true);
            check(&agent.to_uppercase(), true);
            check(&format!("{} {agent}", "x".repeat(MAX_LEN)), false);
        }
        for agent in [
            "",
            "Plesk/18.0.64",
            "PleskExtensionsCatalog",
            "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
            "GuzzleHttp/7",
            "curl/8.9.1",
            "Zend_Http_Client",
            "PHP/8.3 Monitor",
            "my-prometheus/1",
            "Go-http-client/1.1",
            "é",
        ] {
            check(agent, false);
        }
        assert!(!is_monitor(&HeaderMap::new()));
    }
}
