namespace Vmm.Devices;

/// <summary>Every kind of device there is. A new kind is its folder, its spec, and one entry here.</summary>
internal static class DeviceKinds
{
    /// <summary>In this order a machine's devices get their registers and interrupt lines.</summary>
    internal static IReadOnlyList<DeviceKind> All { get; } =
    [
        DiskSpec.Kind,
        EntropySpec.Kind,
        BalloonSpec.Kind,
        ConsoleSpec.Kind,
        NetSpec.Kind,
        VsockSpec.Kind,
    ];
}
