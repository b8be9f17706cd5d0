namespace Vmm.Devices;

/// <summary>
/// What the methods of a guest's ACPI tables read when the machine has something to report: which places for virtio devices have one, a bit
/// each from the first (<c>_STA</c>, ACPI § 6.3.7); and, a byte each, whether the power button was pressed, and whether places changed,
/// since that byte was read last. Read only. Thread-safe.
/// </summary>
internal sealed class MachineEvents : IBusDevice, ISavedState
{
    /// <summary>Bytes of its range on the bus.</summary>
    internal const ulong RangeLength = ChangeOffset + 1;

    /// <summary>Where the byte of the power button is.</summary>
    internal const ulong PowerOffset = sizeof(uint);

    /// <summary>Where the byte is that says that places changed.</summary>
    internal const ulong ChangeOffset = PowerOffset + 1;

    private const int SlotsMax = 8 * sizeof(uint);

    private uint _present;
    private int _isPressed, _hasChanged;

    /// <summary>A place has a device, or has none any more.</summary>
    internal void SetPresent(int slot, bool isPresent)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)slot, (uint)SlotsMax, nameof(slot));
        if (isPresent) Interlocked.Or(ref _present, 1u << slot);
        else Interlocked.And(ref _present, ~(1u << slot));
        Volatile.Write(ref _hasChanged, 1);
    }

    /// <summary>The guest will look at all places by itself: it starts.</summary>
    internal void ForgetChanges() => Volatile.Write(ref _hasChanged, 0);

    /// <summary>The power button is pressed, or, at a reset, was not.</summary>
    internal void SetPressed(bool isPressed) => Volatile.Write(ref _isPressed, isPressed ? 1 : 0);

    public void Read(ulong offset, Span<byte> data)
    {
        uint present = Volatile.Read(ref _present);
        for (int i = 0; i < data.Length; i++, offset++)
        {
            data[i] = offset < PowerOffset ? (byte)(present >> (8 * (int)offset))
                : offset == PowerOffset ? (byte)Interlocked.Exchange(ref _isPressed, 0)
                : offset == ChangeOffset ? (byte)Interlocked.Exchange(ref _hasChanged, 0) : byte.MinValue;
        }
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
    }

    public override string ToString() => "events of the machine";

    void ISavedState.Save(StateWriter to)
    {
        to.Add("present", (ulong)Volatile.Read(ref _present));
        to.Add("pressed", Volatile.Read(ref _isPressed) != 0);
        to.Add("changed", Volatile.Read(ref _hasChanged) != 0);
    }

    void ISavedState.Restore(StateReader from)
    {
        Volatile.Write(ref _present, (uint)from.UInt64("present", uint.MaxValue));
        SetPressed(from.Boolean("pressed"));
        Volatile.Write(ref _hasChanged, from.Boolean("changed") ? 1 : 0);
    }
}
