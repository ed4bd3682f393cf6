//! Conversion from OpenMetrics to Prometheus's older text format, which every scraper understands.

/// Converts the metadata: types are given for the full names of samples; `# UNIT`, info types and `# EOF` are left out.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    let mut help = "";
    for line in open_metrics.lines() {
        let metadata = line.strip_prefix("# ").map(|line| line.splitn(3, ' ').collect::<Vec<_>>());
        match metadata.as_deref() {
            None => text.extend([line, "\n"]),
            // The name depends on the type, which comes next.
            Some(["HELP", _, words]) => help = words,
            Some(["TYPE", name, kind]) => {
                let (suffix, kind) = match *kind {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    kind => ("", kind),
                };
                let name = format!("{name}{suffix}");
                text.extend(["# HELP ", &name, " ", help, "\n# TYPE ", &name, " ", kind, "\n"]);
            }
            Some(_) => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_samples_in_full() {
        let open_metrics = "# HELP a First one.\n# TYPE a counter\n# UNIT a seconds\na_total{x=\"# HELP\"} 1\n\
                            # HELP b Other.\n# TYPE b info\nb_info{v=\"1\"} 1\n\
                            # HELP c Third.\n# TYPE c histogram\nc_sum 1.0\n# EOF\n";
        let expected = "# HELP a_total First one.\n# TYPE a_total counter\na_total{x=\"# HELP\"} 1\n\
                        # HELP b_info Other.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n\
                        # HELP c Third.\n# TYPE c histogram\nc_sum 1.0\n";
        assert_eq!(classic(open_metrics), expected);
    }
}
