namespace Vmm.Devices.Simulation;

/// <summary>One command as it was typed, checked for its form. Whether the device exists shows when it runs.</summary>
internal sealed record ShellCommand(ShellVerb Verb)
{
    /// <summary>The device it is about; empty if about none.</summary>
    internal string Device { get; init; } = "";

    /// <summary>First byte it is about.</summary>
    internal ulong Offset { get; init; }

    /// <summary>Bytes it is about.</summary>
    internal ulong Length { get; init; }

    /// <summary>What the content is made from.</summary>
    internal ulong Seed { get; init; }

    /// <summary>The content itself.</summary>
    internal ReadOnlyMemory<byte> Data { get; init; }
}
