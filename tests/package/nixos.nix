# Evaluates packaging/nixos with stand-ins for the functions of nixpkgs that it uses, which is not available to the tests.
let
  lib = {
    mkEnableOption = description: { inherit description; type = "bool"; default = false; };
    mkOption = option: option;
    mkIf = condition: content: if condition then content else { };
    types = { package = "package"; str = "string"; listOf = type: "list of ${type}"; };
    optional = condition: value: if condition then [ value ] else [ ];
    escapeShellArgs = arguments: builtins.concatStringsSep " " (map (argument: "'${argument}'") arguments);
    getExe' = package: name: "${package}/bin/${name}";
    importTOML = file: builtins.fromTOML (builtins.readFile file);
    cleanSource = source: source;
    licenses.asl20 = "Apache-2.0";
    platforms.linux = [ "x86_64-linux" ];
  };
  evaluate = services: import ../../packaging/nixos/module.nix { inherit lib; config = { inherit services; }; };
  enabled = evaluate {
    unit-exporter = { enable = true; package = "/nix/store/x"; flags = [ "--expect-unit=nginx.service" ]; openFirewall = true; };
  };
  disabled = evaluate { unit-exporter.enable = false; };
  package = import ../../packaging/nixos/package.nix {
    inherit lib;
    installShellFiles = "installShellFiles";
    rustPlatform.buildRustPackage = attributes: attributes;
  };
in
{
  inherit (package) pname version;
  options = builtins.attrNames enabled.options.services.unit-exporter;
  start = builtins.elemAt enabled.config.systemd.services.unit-exporter.serviceConfig.ExecStart 1;
  groups = enabled.config.users.users.unit-exporter.extraGroups;
  ports = enabled.config.networking.firewall.allowedTCPPorts;
  disabled = disabled.config;
}
