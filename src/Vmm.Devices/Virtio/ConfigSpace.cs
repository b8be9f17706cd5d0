namespace Vmm.Devices;

/// <summary>
/// A device's configuration space (virtio 1.2 § 2.5): bytes, and a generation that changes when the device changes several of them at once,
/// so that a driver can notice a torn read. Thread-safe: vCPUs read and write it, the device's reactor updates it.
/// </summary>
public sealed class ConfigSpace
{
    private readonly Lock _lock = new();
    private readonly byte[] _bytes;
    private readonly bool[] _writable;
    private uint _generation;
    private (int Offset, Action<byte> Written)? _register;
    private int _modeOffset = -1;
    private volatile byte _mode;
    private volatile bool _isModeKnown = true;

    /// <summary>A space of zeros that the driver can't write.</summary>
    public ConfigSpace(int length)
    {
        _bytes = new byte[length];
        _writable = new bool[length];
    }

    /// <summary>Bytes in the space.</summary>
    public int Length => _bytes.Length;

    /// <summary>Changes whenever the device updates the space.</summary>
    public uint Generation
    {
        get { lock (_lock) return _generation; }
    }

    /// <summary>Lets the driver write some bytes.</summary>
    public void AllowWrites(int offset, int length) => _writable.AsSpan(offset, length).Fill(true);

    /// <summary>
    /// Makes a byte a register whose every write counts, where for others the last one does: what the driver writes there is passed on at
    /// once, on the thread that carries the write, under the space's lock.
    /// </summary>
    public void AllowWrites(int offset, Action<byte> written)
    {
        ArgumentNullException.ThrowIfNull(written);
        AllowWrites(offset, 1);
        _register = (offset, written);
    }

    /// <summary>Whether a byte of it is a mode: see <see cref="AllowMode"/>.</summary>
    internal bool HasMode => _modeOffset >= 0;

    /// <summary>The mode as the driver last wrote it, from the moment of that write. It outlives the driver's resets.</summary>
    internal byte Mode => _mode;

    /// <summary>
    /// Whether the driver is known to have read or written the mode as it is here. Not so for a driver that a server before this one
    /// served: its front-end may answer its reads from a copy of what that server said.
    /// </summary>
    internal bool IsModeKnown
    {
        get => _isModeKnown;
        set => _isModeKnown = value;
    }

    /// <summary>Lets the driver write a byte that sets how its later requests are meant, such as a disk's write cache.</summary>
    internal void AllowMode(int offset, byte mode)
    {
        AllowWrites(offset, 1);
        _modeOffset = offset;
        SetMode(mode);
    }

    /// <summary>Sets the mode as if the driver had written it.</summary>
    internal void SetMode(byte mode)
    {
        _mode = mode;
        Update(_modeOffset, [mode]);
    }

    /// <summary>Whether a range holds the mode.</summary>
    internal bool CoversMode(int offset, int length) => HasMode && offset <= _modeOffset && _modeOffset - offset < length;

    /// <summary>Reads for the driver; bytes outside of the space are 0.</summary>
    public void Read(int offset, Span<byte> data)
    {
        data.Clear();
        if ((uint)offset >= (uint)_bytes.Length) return;
        lock (_lock)
        {
            ReadOnlySpan<byte> rest = _bytes.AsSpan(offset);
            rest[..Math.Min(rest.Length, data.Length)].CopyTo(data);
        }
    }

    /// <summary>Writes for the driver; bytes it may not write are left alone.</summary>
    /// <returns>Whether any byte was one it may write.</returns>
    public bool Write(int offset, ReadOnlySpan<byte> data)
    {
        bool any = false;
        lock (_lock)
        {
            for (int i = 0; i < data.Length && (uint)(offset + i) < (uint)_bytes.Length; i++)
            {
                if (!_writable[offset + i]) continue;
                _bytes[offset + i] = data[i];
                any = true;
                if (offset + i == _modeOffset) _mode = data[i];
                if (_register is { } register && register.Offset == offset + i) register.Written(data[i]);
            }
        }
        return any;
    }

    /// <summary>Puts back what a device had on another host.</summary>
    internal void Restore(int offset, ReadOnlySpan<byte> data)
    {
        Update(offset, data);
        if (CoversMode(offset, data.Length)) _mode = data[_modeOffset - offset];
    }

    /// <summary>Writes the space as the driver sees it.</summary>
    internal void Save(StateWriter to)
    {
        lock (_lock)
        {
            to.Add("bytes", _bytes);
            to.Add("generation", (long)_generation);
        }
        if (HasMode) to.Add("mode", (long)_mode);
    }

    /// <summary>
    /// Reads back what the driver wrote; the rest is as the device has it in this process. If that is not what the driver saw, there is a
    /// new generation.
    /// </summary>
    /// <returns>Whether the driver sees something else than it did.</returns>
    internal bool Restore(StateReader from)
    {
        byte[] saved = from.Bytes("bytes", _bytes.Length);
        if (saved.Length != _bytes.Length)
            throw from.Wrong("bytes", $"are {saved.Length} bytes, and the device has {_bytes.Length} bytes of configuration");
        uint generation = (uint)from.Int64("generation", 0, uint.MaxValue);
        if (from.Has("mode"))
        {
            byte mode = (byte)from.Int32("mode", 0, byte.MaxValue);
            if (HasMode) _mode = mode;
        }
        lock (_lock)
        {
            for (int i = 0; i < saved.Length; i++)
            {
                if (_writable[i]) _bytes[i] = saved[i];
            }
            bool isOther = !saved.AsSpan().SequenceEqual(_bytes);
            _generation = isOther ? generation + 1 : generation;
            return isOther;
        }
    }

    /// <summary>Changes bytes for the device, as one step with a new generation. The device then signals the change itself.</summary>
    public void Update(int offset, ReadOnlySpan<byte> data)
    {
        lock (_lock)
        {
            data.CopyTo(_bytes.AsSpan(offset));
            _generation++;
        }
    }
}
