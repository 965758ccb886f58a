#* @post /predict
#* @parser json
#* @serializer unboxedJSON
function(a, b) a + b
