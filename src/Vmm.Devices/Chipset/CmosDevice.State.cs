namespace Vmm.Devices;

// The clock in another process. It shows the time of the host it is on, as far ahead of that as the guest had set it; an alarm that came
// meanwhile comes now.
public sealed partial class CmosDevice : ISavedState
{
    private static readonly long UnixMillisecondsMin = new DateTimeOffset(1, 1, 1, 0, 0, 0, TimeSpan.Zero).ToUnixTimeMilliseconds();
    private static readonly long UnixMillisecondsMax = new DateTimeOffset(YearMax, 12, 31, 0, 0, 0, TimeSpan.Zero).ToUnixTimeMilliseconds();

    void ISavedState.Save(StateWriter to)
    {
        lock (_lock)
        {
            to.Add("index", (ulong)_index);
            to.Add("bytes", _bytes);
            to.Add("ahead-ms", (long)_ahead.TotalMilliseconds);
            to.Add("looked-unix-ms", _looked.ToUnixTimeMilliseconds());
            to.Add("interrupting", _lineUp);
        }
    }

    void ISavedState.Restore(StateReader from)
    {
        lock (_lock)
        {
            _index = (byte)from.UInt64("index", IndexMask);
            byte[] bytes = from.Bytes("bytes", ByteCount);
            if (bytes.Length != ByteCount) throw from.Wrong("bytes", $"are {bytes.Length}, and a clock has {ByteCount}");
            bytes.CopyTo(_bytes, 0);
            _bytes[StatusA] &= unchecked((byte)~UpdateInProgress);
            _bytes[StatusD] = RamValid;
            // So that the guest's time, now, is one that the clock can be set to.
            long now = _clock.GetUtcNow().ToUnixTimeMilliseconds();
            _ahead = TimeSpan.FromMilliseconds(from.Int64("ahead-ms", UnixMillisecondsMin - now, UnixMillisecondsMax - now));
            _looked = DateTimeOffset.FromUnixTimeMilliseconds(from.Int64("looked-unix-ms", UnixMillisecondsMin, UnixMillisecondsMax));
            SetLine(from.Boolean("interrupting"));
            Arm();
        }
    }
}
