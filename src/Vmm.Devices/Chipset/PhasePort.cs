namespace Vmm.Devices;

/// <summary>How far a guest is.</summary>
internal enum GuestPhase
{
    /// <summary>It found its devices and turns to its work.</summary>
    Booted = 1,
    /// <summary>Its work is done; it gives its devices back.</summary>
    Finished = 2,
}

/// <summary>A port on which a guest says how far it is: for measurements that leave its beginning and its end out.</summary>
/// <param name="onPhase">Called on the vCPU's thread. Values that are no phase are ignored.</param>
internal sealed class PhasePort(Action<GuestPhase> onPhase) : IBusDevice
{
    /// <summary>Bytes of its range on the bus.</summary>
    public const ulong RangeLength = 1;

    public void Read(ulong offset, Span<byte> data) => data.Clear();

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        GuestPhase phase = (GuestPhase)data[0];
        if (Enum.IsDefined(phase)) onPhase(phase);
    }

    public override string ToString() => "phase port";
}
