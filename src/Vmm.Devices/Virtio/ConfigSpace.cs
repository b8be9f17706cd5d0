namespace Vmm.Devices;

/// <summary>
/// A device's configuration space (virtio 1.2 § 2.5): bytes, and a generation that changes when the device changes several of them at once, so
/// that a driver can tell a torn read. Thread-safe: vCPUs read and write it, the device's reactor updates it.
/// </summary>
public sealed class ConfigSpace
{
    private readonly Lock _lock = new();
    private readonly byte[] _bytes;
    private readonly bool[] _writable;
    private uint _generation;
    private (int Offset, Action<byte> Told)? _register;

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
    /// Makes a byte a register whose every write counts, where for others the last one does: what the driver writes there is told at once, on the thread
    /// that carries the write, under the space's lock.
    /// </summary>
    public void AllowWrites(int offset, Action<byte> told)
    {
        ArgumentNullException.ThrowIfNull(told);
        AllowWrites(offset, 1);
        _register = (offset, told);
    }

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
                if (_register is { } register && register.Offset == offset + i) register.Told(data[i]);
            }
        }
        return any;
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
