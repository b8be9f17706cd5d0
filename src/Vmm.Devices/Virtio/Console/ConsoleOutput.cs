using System.Globalization;
using System.Text;

namespace Vmm.Devices;

/// <summary>
/// What the guest printed and the host side has not taken yet. It gathers small buffers of the guest, so that one call writes many of them,
/// and it holds what is not read: as the port says, the oldest is dropped, the newest is dropped, or the guest waits. On the device's
/// reactor.
/// </summary>
internal sealed class ConsoleOutput(ConsolePort port)
{
    /// <summary>Bytes that are gathered in any case; most bytes of one call.</summary>
    internal const int GatherBytes = 64 * 1024;

    /// <summary>Most bytes that go into saved state, the newest: a port may keep more than a file of texts should have.</summary>
    private const int SavedBytesMax = 16 << 20;

    /// <summary>The line that stands for dropped bytes is shorter.</summary>
    private const int NoticeBytesMax = 128;

    private readonly int _capacity = Math.Max(port.KeepBytes ?? 0, GatherBytes);
    private CircularBytes _ring = new(GatherBytes);
    private long _gap;
    private ReadOnlyMemory<byte> _notice;

    /// <summary>Whether nothing waits for the host side.</summary>
    internal bool IsEmpty => _ring.Count == 0 && _notice.IsEmpty;

    /// <summary>Whether so many bytes fit in without that others are dropped.</summary>
    internal bool HasRoom(int bytes) => bytes <= _capacity - _ring.Count;

    /// <summary>Takes in what the guest prints.</summary>
    /// <param name="bytes">At most <see cref="GatherBytes"/>.</param>
    /// <returns>How many of them: fewer only if the guest is to wait for the host side.</returns>
    internal int Take(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length > _ring.Room && _ring.Capacity < _capacity) Grow();
        int missing = bytes.Length - _ring.Room;
        if (missing > 0 && port.KeepBytes is { } kept)
        {
            port.CountDropped(missing);
            if (kept == 0)
            {
                _ring.Write(bytes);
                return bytes.Length;
            }
            _gap += missing;
            _ring.Skip(missing);
        }
        return _ring.Write(bytes);
    }

    /// <summary>The next bytes for the host side. Where the oldest were dropped, a line in their place says how many.</summary>
    internal ReadOnlySpan<byte> Next()
    {
        if (_gap > 0 && _notice.IsEmpty)
        {
            _notice =
                Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"\r\n[{_gap} unread bytes were dropped here]\r\n"));
            _gap = 0;
        }
        return _notice.IsEmpty ? _ring.Oldest(GatherBytes) : _notice.Span;
    }

    /// <summary>The host side took some of <see cref="Next"/>.</summary>
    internal void Skip(int bytes)
    {
        if (_notice.IsEmpty) _ring.Skip(bytes);
        else _notice = _notice[bytes..];
    }

    /// <summary>Drops everything: there is no host side for it.</summary>
    internal void Clear()
    {
        _ring.Skip(_ring.Count);
        (_gap, _notice) = (0, default);
    }

    internal void Save(StateWriter to)
    {
        byte[] waiting = _ring.ToArray();
        int dropped = Math.Max(waiting.Length - SavedBytesMax, 0);
        to.Add("output", waiting.AsSpan(dropped));
        to.Add("dropped", _gap + dropped);
        to.Add("notice", _notice.Span);
    }

    internal void Restore(StateReader from)
    {
        byte[] waiting = from.Bytes("output", _capacity);
        _ring = new CircularBytes(Math.Max(waiting.Length, GatherBytes));
        _ring.Write(waiting);
        _gap = from.Int64("dropped", 0, long.MaxValue);
        _notice = from.Bytes("notice", NoticeBytesMax);
    }

    private void Grow()
    {
        CircularBytes larger = new(Math.Min(2 * _ring.Capacity, _capacity));
        for (ReadOnlySpan<byte> part = _ring.Oldest(int.MaxValue); part.Length > 0; part = _ring.Oldest(int.MaxValue))
        {
            larger.Write(part);
            _ring.Skip(part.Length);
        }
        _ring = larger;
    }
}
