# Builds from source; the build needs only the crates of Cargo.lock from the network.
{ lib, rustPlatform, installShellFiles }:
rustPlatform.buildRustPackage {
  pname = "unit-exporter";
  version = (lib.importTOML ../../Cargo.toml).package.version;
  src = lib.cleanSource ../..;
  cargoLock.lockFile = ../../Cargo.lock;
  nativeBuildInputs = [ installShellFiles ];
  # the tests boot a systemd and need root
  doCheck = false;
  postInstall = ''
    cargo run --offline --example manual -- manual
    installManPage manual/unit-exporter.8
    installShellCompletion --bash manual/unit-exporter.bash --zsh manual/_unit-exporter --fish manual/unit-exporter.fish
    install -D -m 644 -t $out/lib/systemd/system systemd/system/unit-exporter.service
    substituteInPlace $out/lib/systemd/system/unit-exporter.service --replace-fail /usr/bin $out/bin
  '';
  meta = {
    description = "Prometheus exporter for systemd hosts";
    license = lib.licenses.asl20;
    mainProgram = "unit-exporter";
    platforms = lib.platforms.linux;
  };
}
