using Vmm.Devices.Native;
using Vmm.Events;
using Vmm.Events.Rings;

namespace Vmm.Devices;

/// <summary>
/// One operation in the hands of librbd: as many calls, one after the other, as it takes. Used over and over. On the reactor's thread.
/// </summary>
internal sealed class RbdTransfer(RbdLink link, int index)
{
    /// <summary>Made at first; kept for later operations at most; beyond, as many as one call takes.</summary>
    private const int FirstVectors = 16, KeptVectors = 256, VectorsMax = 1024;

    /// <summary>Most bytes of one call: librbd cuts it into objects, and copies what is written.</summary>
    private const ulong BytesMax = 16 << 20;

    private readonly BlockCalls _calls = new(zeroBlock: 1, hasDurableWrites: false);

    // librbd keeps the address of a read's vectors until it is over.
    private IoVector[] _vectors = GC.AllocateArray<IoVector>(FirstVectors, pinned: true);
    private RbdBlockEngine? _engine;
    private VectorCursor _at;
    private ulong _length;

    internal void Begin(RbdBlockEngine engine, BlockOperation operation)
    {
        _engine = engine;
        _calls.Begin(operation);
        Continue();
    }

    /// <summary>librbd is done with a call.</summary>
    internal void Completed(nint result)
    {
        // A read says how many bytes it brought, and the others nothing.
        if (result == RbdImage.ShutOut) link.NoticeShutOut();
        _calls.Ended(result >= 0 && _calls.Call != BlockCall.Read ? (long)_length : Math.Min(result, (nint)_length));
        Continue();
    }

    private void Continue()
    {
        while (_calls.Call != BlockCall.None)
        {
            int refused = RbdCalls.CreateCompletion(index, callback: 0, out nint completion);
            if (refused == 0)
            {
                refused = Call(completion);
                if (refused == 0) return;
                RbdCalls.Release(completion);
            }
            _calls.Ended(refused);
        }
        RbdBlockEngine engine = _engine!;
        BlockOperation operation = _calls.Operation!;
        Errno error = _calls.Error;
        _calls.Release();
        _engine = null;
        if (_vectors.Length > KeptVectors) _vectors = GC.AllocateArray<IoVector>(FirstVectors, pinned: true);
        link.Release(this);
        engine.Ended();
        operation.Complete(error);
    }

    private int Call(nint completion)
    {
        BlockOperation operation = _calls.Operation!;
        switch (_calls.Call)
        {
            case BlockCall.Read or BlockCall.Write:
                int count = Fill(operation);
                return RbdCalls.Transfer(link.Image, _calls.Call == BlockCall.Write, _vectors, count, operation.Offset, completion);
            case BlockCall.WriteZeroes:
                _vectors[0] = IoVector.Over(BlockZeroes.Some(_calls.Length));
                _length = _vectors[0].Length;
                return RbdCalls.Transfer(link.Image, writes: true, _vectors, 1, _calls.Offset, completion);
            case BlockCall.Sync:
                _length = 0;
                return RbdCalls.Flush(link.Image, completion);
            default:
                _length = _calls.Length;
                if (operation.Kind == BlockOperationKind.Discard) return RbdCalls.Discard(link.Image, _calls.Offset, _length, completion);
                int flags = (_calls.Mode & FallocateMode.ZeroRange) != 0 ? RbdCalls.ThickProvision : 0;
                return RbdCalls.WriteZeroes(link.Image, _calls.Offset, (nuint)_length, completion, flags, 0);
        }
    }

    private int Fill(BlockOperation operation)
    {
        ReadOnlySpan<IoVector> buffers = operation.Vectors;
        int wanted = Math.Min(buffers.Length, VectorsMax);
        if (wanted > _vectors.Length) _vectors = GC.AllocateArray<IoVector>(wanted > KeptVectors ? VectorsMax : KeptVectors, pinned: true);
        _at = default;
        return _at.Describe(buffers, 0, Math.Min(operation.Remaining, BytesMax), _vectors, out _length);
    }
}
