using Vmm.Events;

namespace Vmm.Devices;

/// <summary>A memory balloon as it is described: <c>target=MIB,control=PATH</c>.</summary>
public sealed record BalloonSpec : DeviceSpec
{
    private const int TargetMebibytesMax = (int)(BalloonDevice.TargetBytesMax >> 20);

    /// <summary>How an operator names one.</summary>
    internal static DeviceKind Kind { get; } = new()
    {
        Name = "balloon",
        Syntax = "[target=MIB][,control=PATH]",
        Description = "A memory balloon; the guest is asked to give 'target' MiB of its memory back to the host. "
            + "Lines such as 'target 64' to the Unix socket 'control' change that.",
        IsSingle = true,
        IsSwitch = true,
        IsStandard = true,
        DeviceName = index => $"balloon{index}",
        Parse = DeviceKind.Each(Parse),
    };

    /// <summary>What the guest is asked to give up from the start, in bytes; see <see cref="BalloonDevice.TargetBytes"/>.</summary>
    public ulong TargetBytes { get; set; }

    /// <summary>The path of a Unix socket that takes commands, each a line: <c>target 512</c>, <c>stats</c>; null for none.</summary>
    public string? Control { get; set; }

    /// <summary>Reads a text such as <c>target=64</c>.</summary>
    /// <exception cref="DeviceSpecException">It makes no sense; the message says what does.</exception>
    public static BalloonSpec Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        if (text.Length == 0) return new BalloonSpec();
        SpecText balloon = SpecText.Parse(text, ["target", "control"]);
        return new BalloonSpec
        {
            TargetBytes = (ulong)(balloon.Number("target", 0, TargetMebibytesMax) ?? 0) << 20,
            Control = balloon.Value("control"),
        };
    }

    /// <inheritdoc/>
    public override IEnumerable<string> Failures(string name)
    {
        if (TargetBytes > BalloonDevice.TargetBytesMax)
            yield return $"balloon '{name}' has a target of {TargetBytes} bytes: give it at most {BalloonDevice.TargetBytesMax}";
        if (Control is not null && HostListener.Failure(Control) is { } failure) yield return $"balloon '{name}': {failure}";
    }

    /// <inheritdoc/>
    public override VirtioDevice Open(string name, DeviceSetting? setting = null)
    {
        if (setting?.MemoryBytes is { } memory && TargetBytes > memory)
            throw new ArgumentException($"'target={TargetBytes >> 20}': the machine has {memory >> 20} MiB (--memory): give at most that");
        return new BalloonDevice(name) { TargetBytes = TargetBytes };
    }

    /// <inheritdoc/>
    public override IEnumerable<HostAccess> HostAccesses() => Control is null ? [] : [new(HostAccessKind.Listen, Control)];

    /// <inheritdoc/>
    public override IDisposable? Connect(VirtioDevice device, RemoteEndpoint reactor, Action<string> announce) =>
        Control is null ? null : new BalloonControl((BalloonDevice)device, Control, reactor);
}
