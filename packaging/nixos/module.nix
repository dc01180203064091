# An example of a NixOS module, evaluated by the tests of this project, not built. With the source in ./unit-exporter:
#
#   imports = [ ./unit-exporter/packaging/nixos/module.nix ];
#   services.unit-exporter = {
#     enable = true;
#     package = pkgs.callPackage ./unit-exporter/packaging/nixos/package.nix { };
#     flags = [ "--expect-unit=nginx.service" ];
#   };
{ config, lib, ... }:
let
  cfg = config.services.unit-exporter;
in
{
  options.services.unit-exporter = {
    enable = lib.mkEnableOption "the Prometheus exporter for systemd hosts";
    package = lib.mkOption {
      type = lib.types.package;
      description = "Package with bin/unit-exporter and lib/systemd/system/unit-exporter.service.";
    };
    flags = lib.mkOption {
      type = lib.types.listOf lib.types.str;
      default = [ ];
      description = "Flags of unit-exporter; see unit-exporter(8).";
    };
    openFirewall = lib.mkEnableOption "port 9558 in the firewall";
  };

  config = lib.mkIf cfg.enable {
    # A static user, since dbus-daemon rejects DynamicUser= users.
    users.users.unit-exporter = {
      isSystemUser = true;
      group = "unit-exporter";
      extraGroups = [ "systemd-journal" ];
    };
    users.groups.unit-exporter = { };

    # The packaged unit has the sandbox; only distribution-specific settings follow.
    systemd.packages = [ cfg.package ];
    systemd.services.unit-exporter = {
      wantedBy = [ "multi-user.target" ];
      serviceConfig.ExecStart = [
        ""
        "${lib.getExe' cfg.package "unit-exporter"} ${lib.escapeShellArgs cfg.flags}"
      ];
      serviceConfig.ExecReload = [
        ""
        "/run/current-system/sw/bin/kill -HUP $MAINPID"
      ];
    };
    networking.firewall.allowedTCPPorts = lib.optional cfg.openFirewall 9558;
  };
}
