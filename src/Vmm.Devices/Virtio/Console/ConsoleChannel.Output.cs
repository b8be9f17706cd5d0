using Vmm.Events;

namespace Vmm.Devices;

/// <content>From the guest to the host. The guest's chains are taken in, and what was gathered of them is written by few calls at the end
/// of the turn.</content>
internal sealed partial class ConsoleChannel
{
    /// <summary>Most bytes of output in one turn; then the other devices have theirs.</summary>
    private const int OutputBytesPerTurnMax = 256 * 1024;

    /// <summary>
    /// Most chains in one turn. One of many buffers counts as several: a guest that cuts its output into single bytes gets no more of the
    /// reactor's time.
    /// </summary>
    private const int OutputChainsPerTurnMax = 128;

    /// <summary>Most bytes of one piece.</summary>
    private const int PieceBytesMax = 4096;

    /// <summary>Most calls that write output, each of at most <see cref="ConsoleOutput.GatherBytes"/>, in one turn.</summary>
    private const int OutputCallsPerTurnMax = 16;

    /// <summary>What may be written in a turn for the host side, outside of those of the queue.</summary>
    private readonly TurnBudget _hostTurn = new() { CallsMax = OutputCallsPerTurnMax };
    private readonly ConsoleOutput _output = new(port);
    private DescriptorChain? _chain;
    private ulong _taken;

    /// <summary>Whether output waits for a host side: for the one there is, or for the next one.</summary>
    private bool KeepsOutput =>
        _host is null or { IsBroken: true } ? port.KeepBytes > 0 : _host.HasOutput;

    /// <summary>Sets the limits of a transmit queue's turn.</summary>
    internal static void Limit(TurnBudget turn) =>
        (turn.ChainsMax, turn.BytesMax, turn.CallsMax) = (OutputChainsPerTurnMax, OutputBytesPerTurnMax, OutputCallsPerTurnMax);

    /// <summary>Takes in what the guest printed, as far as the host side, or the port, has room for it.</summary>
    internal void ServeTransmit(QueueContext context)
    {
        VirtQueue queue = context.Queue;
        TurnBudget turn = context.Turn;
        while ((_chain is null ? queue.TryPop(out _chain) : !turn.IsSpent) && TryTake(_chain!, turn))
        {
            queue.Push(_chain!, 0);
            _chain = null;
            _taken = 0;
        }
        Flush(turn);
        if (turn.IsSpent) context.ServeLater();
    }

    /// <summary>
    /// The queue stops. If it is to go on, what there was no room for of a chain is taken in when the chain is popped again.
    /// </summary>
    internal void StopTransmit(VirtQueue queue, QuiesceReason reason)
    {
        if (reason == QuiesceReason.Reset)
        {
            if (_chain is { } lost) queue.Push(lost, 0);
            _taken = 0;
        }
        else if (_chain is { } chain)
        {
            queue.Unpop(chain);
        }
        _chain = null;
    }

    /// <summary>Writes what waits when the device ends, as long as the host side takes it. When its reactor has let go of the
    /// device.</summary>
    internal void Finish(TimeSpan patience) => port.Finish(_output, patience);

    /// <summary>Takes in the rest of a chain.</summary>
    /// <returns>Whether all of it was taken, or there is no host side for it.</returns>
    private bool TryTake(DescriptorChain chain, TurnBudget turn)
    {
        ChainReader reader = chain.Readable;
        reader.TrySkip(_taken);
        while (turn is { BytesLeft: > 0, CallsLeft: > 0 })
        {
            if (!reader.TryNext(out ReadOnlySpan<byte> piece, (ulong)Math.Min(turn.BytesLeft, PieceBytesMax))) return true;
            if (_host is not { IsBlocked: true } && !_output.HasRoom(piece.Length))
            {
                Flush(turn);
                if (turn.CallsLeft <= 0) return false;
            }
            int taken = Take(piece);
            _taken += (ulong)taken;
            turn.Charge(taken);
            if (taken < piece.Length) return false;
        }
        return reader.Remaining == 0;
    }

    private int Take(ReadOnlySpan<byte> piece)
    {
        int taken = TakeForHost(piece);
        port.Mirror?.Printed(piece[..taken]);
        return taken;
    }

    private int TakeForHost(ReadOnlySpan<byte> piece)
    {
        if (KeepsOutput) return _output.Take(piece);
        if (_connection is null) port.CountDropped(piece.Length);
        return piece.Length;
    }

    /// <summary>Writes what waits, for something that happened on the host side.</summary>
    private void FlushForHost()
    {
        _hostTurn.Begin();
        Flush(_hostTurn);
    }

    /// <summary>Writes what waits, as far as the host side takes it.</summary>
    private void Flush(TurnBudget turn)
    {
        for (; turn.CallsLeft > 0; turn.Charge(0, calls: 1))
        {
            if (_host is not { HasOutput: true, IsBlocked: false }) return;
            ReadOnlySpan<byte> next = _output.Next();
            if (next.IsEmpty) return;
            bool hasRoom = _host.TryWrite(next, out int written);
            _output.Skip(written);
            if (!hasRoom) return;
        }
        // There is more: after the others have had their turn.
        if (turn == _hostTurn) _hostChanged!.TryRing();
    }

    /// <summary>The host side may take what waits, and then what the guest has in its queue.</summary>
    private void HasRoom()
    {
        FlushForHost();
        device.ServeQueue(ConsoleProtocol.TransmitQueueOf(index));
    }

    private void BreakOutput(Errno errno)
    {
        if (_connection?.OnHungUp is not null)
        {
            HangUp();
            return;
        }
        _output.Clear();
        device.ReportOutputFault(errno, port);
    }
}
