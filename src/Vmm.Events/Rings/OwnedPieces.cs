using Vmm.Events.Buffers;

namespace Vmm.Events.Rings;

/// <summary>Several buffers become one operation's: all of them, or none and the reason. Then every handle is as good as before.</summary>
internal static class OwnedPieces
{
    /// <summary>Lends mutable buffers.</summary>
    internal static LentBuffer[] Lend(ReadOnlySpan<SlabBuffer> buffers, out IoVectors vectors)
    {
        vectors = new IoVectors(buffers.Length);
        LentBuffer[] lent = new LentBuffer[buffers.Length];
        int count = 0;
        try
        {
            for (; count < lent.Length; count++)
            {
                lent[count] = buffers[count].Lend();
                vectors.Add(lent[count].RoomAddress, lent[count].RoomBytes);
            }
        }
        catch
        {
            while (count-- > 0) lent[count].UndoLend();
            throw;
        }
        return lent;
    }

    /// <summary>Takes shares of frozen ones.</summary>
    internal static FrozenBuffer[] Take(ReadOnlySpan<FrozenBuffer> frozen, out IoVectors vectors)
    {
        vectors = new IoVectors(frozen.Length);
        FrozenBuffer[] taken = new FrozenBuffer[frozen.Length];
        int count = 0;
        try
        {
            for (; count < taken.Length; count++)
            {
                taken[count] = frozen[count].Take();
                vectors.Add(taken[count].Address, taken[count].Length);
            }
        }
        catch
        {
            while (count-- > 0) taken[count].UndoTake();
            throw;
        }
        return taken;
    }
}
