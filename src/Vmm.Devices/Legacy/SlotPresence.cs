namespace Vmm.Devices;

/// <summary>
/// Says to a guest which places for virtio devices have one: a bit each, from the first, which the methods of its ACPI tables read
/// (<c>_STA</c>, ACPI § 6.3.7). Read only. Thread-safe.
/// </summary>
internal sealed class SlotPresence : IBusDevice, ISavedState
{
    /// <summary>Bytes of its range on the bus.</summary>
    internal const ulong RangeLength = 4;

    private const int SlotsMax = 8 * (int)RangeLength;

    private uint _present;

    /// <summary>Which places have a device.</summary>
    internal uint Present
    {
        get => Volatile.Read(ref _present);
        set => Volatile.Write(ref _present, value);
    }

    /// <summary>A place has a device, or has none any more.</summary>
    internal void Set(int slot, bool isPresent)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)slot, (uint)SlotsMax, nameof(slot));
        if (isPresent) Interlocked.Or(ref _present, 1u << slot);
        else Interlocked.And(ref _present, ~(1u << slot));
    }

    /// <inheritdoc/>
    public void Read(ulong offset, Span<byte> data)
    {
        ulong present = Present;
        for (int i = 0; i < data.Length; i++)
            data[i] = offset + (ulong)i < RangeLength ? (byte)(present >> (8 * ((int)offset + i))) : byte.MinValue;
    }

    /// <inheritdoc/>
    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
    }

    /// <inheritdoc/>
    public override string ToString() => "presence of devices";

    /// <inheritdoc/>
    void ISavedState.Save(StateWriter to) => to.Add("present", (ulong)Present);

    /// <inheritdoc/>
    void ISavedState.Restore(StateReader from) => Present = (uint)from.UInt64("present", uint.MaxValue);
}
