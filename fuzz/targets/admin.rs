#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| catalog_proxy_fuzz::admin::check(data));
