namespace Vmm.Devices.Tests.Kvm;

/// <summary>A bus device that notes every access and answers reads from a function.</summary>
internal sealed class RecordingDevice(Func<ulong, int, ulong>? answer = null) : IBusDevice
{
    private readonly Lock _lock = new();

    internal List<(ulong Offset, int Width, ulong Value)> Writes { get; } = [];
    internal List<(ulong Offset, int Width)> Reads { get; } = [];

    public void Read(ulong offset, Span<byte> data)
    {
        lock (_lock) Reads.Add((offset, data.Length));
        ulong value = answer?.Invoke(offset, data.Length) ?? 0;
        for (int i = 0; i < data.Length; i++) data[i] = (byte)(value >> (8 * i));
    }

    public void Write(ulong offset, ReadOnlySpan<byte> data)
    {
        ulong value = 0;
        for (int i = 0; i < data.Length; i++) value |= (ulong)data[i] << (8 * i);
        lock (_lock) Writes.Add((offset, data.Length, value));
    }

    internal string Text => string.Concat(Writes.Select(write => (char)write.Value));
}
