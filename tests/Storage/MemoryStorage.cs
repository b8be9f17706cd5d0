using Vmm.Events;

namespace Vmm.Tests;

/// <summary>Memory that knows which of its bytes were synced.</summary>
internal sealed class MemoryStorage(int bytes) : FuseStorage
{
    private readonly byte[] _content = new byte[bytes];
    private readonly Lock _lock = new();
    private readonly HashSet<int> _dirtySectors = [];

    internal override int Length => _content.Length;

    /// <summary>Bytes that were written or given back and not synced since. Any thread.</summary>
    internal int Dirty
    {
        get { lock (_lock) return _dirtySectors.Count * 512; }
    }

    /// <summary>Any thread.</summary>
    internal byte[] Content
    {
        get { lock (_lock) return [.. _content]; }
    }

    /// <summary>What changed it, in order; null: that is not noted. Set before it is used.</summary>
    internal DiskLog? Log { get; init; }

    internal override Errno Read(int offset, Span<byte> bytes)
    {
        lock (_lock) _content.AsSpan(offset, bytes.Length).CopyTo(bytes);
        return Errno.None;
    }

    internal override Errno Write(int offset, ReadOnlySpan<byte> bytes, bool durable)
    {
        lock (_lock)
        {
            bytes.CopyTo(_content.AsSpan(offset));
            if (!durable) MarkDirty(offset, bytes.Length);
            Log?.Wrote(offset, bytes, durable);
        }
        return Errno.None;
    }

    internal override Errno Zero(int offset, int length)
    {
        lock (_lock)
        {
            _content.AsSpan(offset, length).Clear();
            MarkDirty(offset, length);
            Log?.Wrote(offset, new byte[length], durable: false);
        }
        return Errno.None;
    }

    internal override Errno Sync()
    {
        lock (_lock)
        {
            _dirtySectors.Clear();
            Log?.Synced();
        }
        return Errno.None;
    }

    private void MarkDirty(int offset, int length)
    {
        for (int sector = offset / 512; sector < (offset + length) / 512; sector++) _dirtySectors.Add(sector);
    }
}
