//! The status pages in a headless Chromium: content, interaction, accessibility.

#![allow(clippy::unwrap_used, reason = "test helpers")]

#[path = "../fixture/mod.rs"]
#[allow(dead_code)]
mod fixture;
#[path = "../support/mod.rs"]
mod support;

mod access;
mod browser;
mod host;
mod large;
mod machine;
mod status;
mod unit;
