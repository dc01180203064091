#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| unit_exporter::fuzzing::run("state", data));
