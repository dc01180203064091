//! The status pages in a headless Chromium: content, interaction, accessibility.

#![allow(clippy::unwrap_used, reason = "test helpers")]

#[path = "../fixture/mod.rs"]
#[allow(dead_code)]
mod fixture;
#[path = "../support/mod.rs"]
mod support;

mod accessibility;
mod booted;
mod browser;
mod index;
mod large;
mod page_server;
mod unit;
