#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| modelcache_fetcher::fuzz::token(bytes));
