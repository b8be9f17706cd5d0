namespace Vmm.Devices.Simulation;

/// <summary>A port of the guest's virtio console: a stream of bytes in each direction, with back-pressure. On CPU 0.</summary>
internal sealed class GuestPort(GuestPorts console, int index, GuestReceiveQueue receive, GuestQueue transmit)
{
    /// <summary>Bytes of a buffer.</summary>
    internal const uint ChunkBytes = 4096;

    internal const ushort ReceiveBuffers = 8;

    /// <summary>Most unread bytes; with more, the device gets no buffer and the host waits.</summary>
    private const int InputBytesMax = 64 * 1024;

    private readonly CircularBytes _input = new(InputBytesMax);

    internal int Index => index;

    /// <summary>The host's name for it; empty until the device reports one.</summary>
    internal string Name { get; set; } = "";

    /// <summary>Whether the host wants a terminal on it.</summary>
    internal bool IsConsole { get; set; }

    /// <summary>Whether an endpoint of the host is connected.</summary>
    internal bool IsHostOpen { get; set; }

    /// <summary>Whether the device announced it; without control messages it is there from the start.</summary>
    internal bool IsKnown { get; set; }

    internal long BytesIn { get; private set; }

    internal long BytesOut { get; private set; }

    internal long Kicks => receive.Kicks + transmit.Kicks;

    /// <summary>Bytes that wait to be read.</summary>
    internal int Waiting => _input.Count;

    /// <summary>Takes what the device received, as long as there is room.</summary>
    internal async ValueTask PumpInput(KernelCpu kernel)
    {
        do
        {
            while (_input.Room >= ChunkBytes && receive.TryTake(out GuestBuffer received)) Take(kernel, received);
            await receive.Kick(kernel);
        }
        while (_input.Room >= ChunkBytes && !receive.PrepareToWait());
    }

    /// <summary>Takes bytes out that were received, a line at the most.</summary>
    /// <param name="destination">Room for them.</param>
    /// <param name="endsAtLine">Whether to stop behind an end of line.</param>
    internal int Read(Span<byte> destination, bool endsAtLine)
    {
        int length = 0;
        while (length < destination.Length && _input.TryTake(out byte value))
        {
            destination[length++] = value;
            if (endsAtLine && value == '\n') break;
        }
        return length;
    }

    /// <summary>Writes bytes, and waits until the host has them.</summary>
    /// <returns>Null if it has them; else a sentence.</returns>
    internal async ValueTask<string?> Write(KernelCpu kernel, ReadOnlyMemory<byte> bytes)
    {
        bool IsAborted() => kernel.Kernel.Console.AbortRequested;
        while (bytes.Length > 0)
        {
            if (transmit.IsBusy && await transmit.Finish(kernel, IsAborted) is null) return Stuck();
            int length = Math.Min(bytes.Length, (int)ChunkBytes);
            kernel.Cpu.Memory.TryWrite(transmit.Data, bytes.Span[..length]);
            await transmit.Begin(kernel, new GuestBuffer(transmit.Data, (uint)length), null);
            if (await transmit.Finish(kernel, IsAborted) is null) return Stuck();
            BytesOut += length;
            bytes = bytes[length..];
        }
        return null;
    }

    private string Stuck() =>
        console.IsBroken ? "the device is broken until it is reset" : "interrupted: the host did not take all of it yet";

    private void Take(KernelCpu kernel, GuestBuffer received)
    {
        if (kernel.Cpu.Memory.TryGetSpan(received.Address, received.Length, out Span<byte> bytes)) _input.Write(bytes);
        BytesIn += received.Length;
        receive.GiveBack(received.Address);
    }
}
